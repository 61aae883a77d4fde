//! Where redaction looks closer: parts of words that are the same for most ways to write them, and what they may be
//! part of. Whether there is a secret is decided by what stands around them.

use super::Kind;

/// What an anchor may be part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Setting,
    /// The code on the back of a card.
    CardCode,
    /// `pass` with the byte behind it.
    Pass,
    /// A program that takes passwords as arguments.
    Command,
    /// `IDENTIFIED BY` of SQL.
    Identified,
    /// `VALUES` of SQL.
    Values,
    /// `AUTH` of SMTP and Redis.
    Auth,
    /// A directive of Redis with a password behind it.
    Directive,
    Header,
    Bearer,
    Basic,
    Cookie,
    Url,
    /// A URL of Oracle's driver.
    OracleUrl,
    /// A signature in the query of a URL that opens something without further questions.
    Signature,
    PrivateKey,
    Jwt,
    /// The start of a key that has at least so many more characters of a kind.
    Known(usize, Letters),
    /// The middle of an application's secret of Microsoft Entra.
    Entra,
    /// The start of a key of Mailgun.
    Mailgun,
    /// What is between the number of a Telegram bot and its secret.
    Telegram,
}

/// Characters of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// `A-Z 0-9`
    Upper,
    /// `0-9 a-f A-F`
    Hex,
    /// `A-Z a-z 0-9`
    Alnum,
    /// The same with `_` and `-`.
    Word,
    /// The same with `.` and `/`.
    Dotted,
    /// Base64 of both alphabets, also with `%` of a URL.
    Base64,
}

impl Letters {
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => Self::Word.has(byte) || matches!(byte, b'.' | b'/'),
            Self::Base64 => Self::Word.has(byte) || matches!(byte, b'+' | b'/' | b'=' | b'%'),
        }
    }
}

impl Anchor {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Setting | Self::Pass | Self::Command => Kind::Password,
            Self::Identified | Self::Values | Self::Auth | Self::Directive => Kind::Password,
            Self::Header | Self::Bearer | Self::Basic => Kind::Authorization,
            Self::Cookie => Kind::Cookie,
            Self::Url | Self::OracleUrl => Kind::Url,
            Self::PrivateKey => Kind::PrivateKey,
            Self::Jwt => Kind::Jwt,
            Self::Known(..) | Self::Entra | Self::Telegram | Self::Signature => Kind::Token,
            Self::Mailgun => Kind::Token,
            Self::CardCode => Kind::Card,
        }
    }
}

/// All anchors. Of two that begin at the same place the first one counts, so that longer ones stand before shorter ones.
pub(super) const ANCHORS: &[(&str, Anchor)] = &[
    ("assword", Anchor::Setting),
    ("ASSWORD", Anchor::Setting),
    ("asswd", Anchor::Setting),
    ("ASSWD", Anchor::Setting),
    ("assphrase", Anchor::Setting),
    ("ASSPHRASE", Anchor::Setting),
    ("pwd", Anchor::Setting),
    ("Pwd", Anchor::Setting),
    ("PWD", Anchor::Setting),
    ("pass=", Anchor::Pass),
    ("pass:", Anchor::Pass),
    ("pass\"", Anchor::Pass),
    ("pass\\", Anchor::Pass),
    ("pass'", Anchor::Pass),
    ("pass]", Anchor::Pass),
    ("pass =", Anchor::Pass),
    ("-pass ", Anchor::Pass),
    ("Pass=", Anchor::Pass),
    ("Pass:", Anchor::Pass),
    ("Pass\"", Anchor::Pass),
    ("PASS=", Anchor::Pass),
    ("PASS:", Anchor::Pass),
    ("PASS =", Anchor::Pass),
    ("PASS\"", Anchor::Pass),
    ("pw=", Anchor::Pass),
    ("pw:", Anchor::Pass),
    ("pw\"", Anchor::Pass),
    ("PW=", Anchor::Pass),
    ("PW:", Anchor::Pass),
    ("cvv", Anchor::CardCode),
    ("CVV", Anchor::CardCode),
    ("cvc", Anchor::CardCode),
    ("CVC", Anchor::CardCode),
    ("requirepass", Anchor::Directive),
    ("masterauth", Anchor::Directive),
    ("dentified by", Anchor::Identified),
    ("DENTIFIED BY", Anchor::Identified),
    ("VALUES", Anchor::Values),
    ("alues (", Anchor::Values),
    ("alues(", Anchor::Values),
    ("AUTH ", Anchor::Auth),
    ("AUTH\"", Anchor::Auth),
    ("ecret_key_base", Anchor::Setting),
    ("ECRET_KEY_BASE", Anchor::Setting),
    ("ecret_key", Anchor::Setting),
    ("ecret-key", Anchor::Setting),
    ("ecretKey", Anchor::Setting),
    ("ecretkey", Anchor::Setting),
    ("ecret", Anchor::Setting),
    ("ECRET_KEY", Anchor::Setting),
    ("ECRET", Anchor::Setting),
    ("oken", Anchor::Setting),
    ("OKEN", Anchor::Setting),
    ("pi_key", Anchor::Setting),
    ("pi-key", Anchor::Setting),
    ("pi-Key", Anchor::Setting),
    ("pikey", Anchor::Setting),
    ("piKey", Anchor::Setting),
    ("PI_KEY", Anchor::Setting),
    ("PI-KEY", Anchor::Setting),
    ("PIKEY", Anchor::Setting),
    ("ess_key", Anchor::Setting),
    ("essKey", Anchor::Setting),
    ("ESS_KEY", Anchor::Setting),
    ("ate_key", Anchor::Setting),
    ("ateKey", Anchor::Setting),
    ("ATE_KEY", Anchor::Setting),
    ("ption_key", Anchor::Setting),
    ("ptionKey", Anchor::Setting),
    ("ption-Key", Anchor::Setting),
    ("PTION_KEY", Anchor::Setting),
    ("gning_key", Anchor::Setting),
    ("gningKey", Anchor::Setting),
    ("GNING_KEY", Anchor::Setting),
    ("aster_key", Anchor::Setting),
    ("asterKey", Anchor::Setting),
    ("ASTER_KEY", Anchor::Setting),
    ("AccountKey", Anchor::Setting),
    ("mysql", Anchor::Command),
    ("mariadb", Anchor::Command),
    ("mongo", Anchor::Command),
    ("sshpass", Anchor::Command),
    ("redis-cli", Anchor::Command),
    ("curl", Anchor::Command),
    ("ldap", Anchor::Command),
    ("login", Anchor::Command),
    ("sqlplus", Anchor::Command),
    ("sqlldr", Anchor::Command),
    ("expdp", Anchor::Command),
    ("impdp", Anchor::Command),
    ("rman", Anchor::Command),
    ("uthorization", Anchor::Header),
    ("UTHORIZATION", Anchor::Header),
    ("earer ", Anchor::Bearer),
    ("EARER ", Anchor::Bearer),
    ("asic ", Anchor::Basic),
    ("ASIC ", Anchor::Basic),
    ("ookie", Anchor::Cookie),
    ("OOKIE", Anchor::Cookie),
    ("://", Anchor::Url),
    ("jdbc:oracle:", Anchor::OracleUrl),
    ("sig=", Anchor::Signature),
    ("ignature=", Anchor::Signature),
    ("PRIVATE KEY-----", Anchor::PrivateKey),
    ("eyJ", Anchor::Jwt),
    // Clouds.
    ("AKIA", Anchor::Known(16, Letters::Upper)),
    ("ASIA", Anchor::Known(16, Letters::Upper)),
    ("ABSK", Anchor::Known(100, Letters::Base64)),
    ("AIza", Anchor::Known(35, Letters::Word)),
    ("ya29.", Anchor::Known(20, Letters::Word)),
    ("GOCSPX-", Anchor::Known(20, Letters::Word)),
    ("1//0", Anchor::Known(30, Letters::Word)),
    ("Q~", Anchor::Entra),
    ("LTAI", Anchor::Known(16, Letters::Alnum)),
    ("dop_v1_", Anchor::Known(64, Letters::Hex)),
    ("doo_v1_", Anchor::Known(64, Letters::Hex)),
    ("dor_v1_", Anchor::Known(64, Letters::Hex)),
    // Code and packages.
    ("ghp_", Anchor::Known(36, Letters::Word)),
    ("gho_", Anchor::Known(36, Letters::Word)),
    ("ghu_", Anchor::Known(36, Letters::Word)),
    ("ghs_", Anchor::Known(36, Letters::Word)),
    ("ghr_", Anchor::Known(36, Letters::Word)),
    ("github_pat_", Anchor::Known(22, Letters::Word)),
    ("glpat-", Anchor::Known(20, Letters::Dotted)),
    ("gldt-", Anchor::Known(20, Letters::Dotted)),
    ("glrt-", Anchor::Known(20, Letters::Dotted)),
    ("glcbt-", Anchor::Known(20, Letters::Dotted)),
    ("glptt-", Anchor::Known(20, Letters::Dotted)),
    ("GR1348941", Anchor::Known(20, Letters::Word)),
    ("ATATT3", Anchor::Known(60, Letters::Base64)),
    ("npm_", Anchor::Known(36, Letters::Word)),
    ("pypi-AgE", Anchor::Known(50, Letters::Word)),
    ("rubygems_", Anchor::Known(48, Letters::Hex)),
    ("dckr_pat_", Anchor::Known(20, Letters::Word)),
    ("dckr_oat_", Anchor::Known(20, Letters::Word)),
    // Chat, mail and payment.
    ("xoxb-", Anchor::Known(10, Letters::Word)),
    ("xoxp-", Anchor::Known(10, Letters::Word)),
    ("xoxa-", Anchor::Known(10, Letters::Word)),
    ("xoxr-", Anchor::Known(10, Letters::Word)),
    ("xoxs-", Anchor::Known(10, Letters::Word)),
    ("xoxc-", Anchor::Known(10, Letters::Word)),
    ("xoxe-", Anchor::Known(10, Letters::Word)),
    ("xapp-", Anchor::Known(20, Letters::Word)),
    ("hooks.slack.com/services/", Anchor::Known(20, Letters::Dotted)),
    (":AA", Anchor::Telegram),
    ("discord.com/api/webhooks/", Anchor::Known(20, Letters::Dotted)),
    ("discordapp.com/api/webhooks/", Anchor::Known(20, Letters::Dotted)),
    ("key-", Anchor::Mailgun),
    ("SK", Anchor::Known(32, Letters::Hex)),
    ("SG.", Anchor::Known(60, Letters::Dotted)),
    ("sk_live_", Anchor::Known(16, Letters::Word)),
    ("sk_test_", Anchor::Known(16, Letters::Word)),
    ("rk_live_", Anchor::Known(16, Letters::Word)),
    ("rk_test_", Anchor::Known(16, Letters::Word)),
    ("whsec_", Anchor::Known(24, Letters::Base64)),
    ("shpat_", Anchor::Known(32, Letters::Hex)),
    ("shpss_", Anchor::Known(32, Letters::Hex)),
    // Models.
    ("sk-ant-", Anchor::Known(20, Letters::Word)),
    ("sk-proj-", Anchor::Known(20, Letters::Word)),
    ("sk-svcacct-", Anchor::Known(20, Letters::Word)),
    ("sk-admin-", Anchor::Known(20, Letters::Word)),
    ("sk-or-v1-", Anchor::Known(32, Letters::Hex)),
    ("sk-", Anchor::Known(48, Letters::Alnum)),
    ("hf_", Anchor::Known(30, Letters::Word)),
    ("gsk_", Anchor::Known(40, Letters::Alnum)),
    // Secrets and observability.
    ("hvs.", Anchor::Known(24, Letters::Word)),
    ("hvb.", Anchor::Known(24, Letters::Word)),
    ("AGE-SECRET-KEY-1", Anchor::Known(58, Letters::Upper)),
    ("glsa_", Anchor::Known(32, Letters::Word)),
    ("glc_", Anchor::Known(32, Letters::Base64)),
    ("sntrys_", Anchor::Known(40, Letters::Base64)),
    ("dapi", Anchor::Known(32, Letters::Hex)),
];
