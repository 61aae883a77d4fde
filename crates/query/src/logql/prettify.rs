//! A query laid out for reading: one line where it fits, otherwise a line per stage, operand and argument.
//!
//! Works on tokens and on what the parser noted about them, so that what is written stays as it is: quotes, numbers and
//! parentheses. Comments are left out.

use model::Result;

use super::parse::parse_tokens;
use super::tokens::{Kind, Role, Token};

/// Characters of a line.
const LINE_CHARS_MAX: usize = 100;
const INDENT: &str = "  ";

/// `text` laid out.
///
/// # Errors
/// As [`parse`](super::parse()).
pub fn prettify(text: &str) -> Result<String> {
    let mut tokens = parse_tokens(text)?.into_iter();
    let nodes = read(&mut tokens);
    let mut out = String::new();
    lay_out(&nodes, 0, &mut out);
    Ok(out)
}

/// A token, or what stands between brackets.
enum Node<'t> {
    Token(Token<'t>),
    Group { open: &'t str, inside: Vec<Node<'t>> },
}

impl<'t> Node<'t> {
    fn role(&self) -> Role {
        match self {
            Self::Token(token) => token.role,
            Self::Group { .. } => Role::Plain,
        }
    }

    /// The text of a token that is not quoted.
    fn word(&self) -> &'t str {
        match self {
            Self::Token(token) if token.kind != Kind::Text => token.text,
            _ => "",
        }
    }
}

/// Everything up to a closing bracket, which is stepped over. How deep brackets nest was bounded by parsing.
fn read<'t>(tokens: &mut impl Iterator<Item = Token<'t>>) -> Vec<Node<'t>> {
    let mut nodes = Vec::new();
    while let Some(token) = tokens.next() {
        match token.text {
            ")" | "]" | "}" if token.kind == Kind::Punct => break,
            "(" | "[" | "{" if token.kind == Kind::Punct => {
                nodes.push(Node::Group { open: token.text, inside: read(tokens) });
            }
            _ => nodes.push(Node::Token(token)),
        }
    }
    nodes
}

/// Writes lines, indented `depth` times; the last one without its end.
fn lay_out(nodes: &[Node<'_>], depth: usize, out: &mut String) {
    let flat = flat(nodes);
    let fits = depth * INDENT.len() + flat.chars().count() <= LINE_CHARS_MAX;
    let operator = nodes.iter().position(|n| n.role() == Role::Operator);
    let stage = nodes.iter().position(|n| n.role() == Role::Stage);
    if fits {
        line(&flat, depth, out);
    } else if let Some(at) = operator {
        // Chains of operators are laid out operand by operand, whatever binds tighter.
        let behind = at + 1 + modifiers_len(&nodes[at + 1..]);
        lay_out(&nodes[..at], depth, out);
        out.push('\n');
        line(&self::flat(&nodes[at..behind]), depth, out);
        out.push('\n');
        lay_out(&nodes[behind..], depth, out);
    } else if let Some(at) = stage {
        if at > 0 {
            lay_out(&nodes[..at], depth, out);
        }
        let mut rest = &nodes[at..];
        while let Some((_, tail)) = rest.split_first() {
            let len = tail.iter().position(|n| n.role() == Role::Stage).unwrap_or(tail.len());
            out.push_str(if out.is_empty() { "" } else { "\n" });
            line(&self::flat(&rest[..=len]), depth + 1, out);
            rest = &tail[len..];
        }
    } else {
        call(nodes, depth, &flat, out);
    }
}

/// The largest parenthesis on lines of its own.
fn call(nodes: &[Node<'_>], depth: usize, flat: &str, out: &mut String) {
    let size = |node: &Node<'_>| match node {
        Node::Group { open: "(", inside } => self::flat(inside).len(),
        _ => 0,
    };
    let largest = (0..nodes.len()).max_by_key(|i| size(&nodes[*i]));
    let Some((at, Node::Group { inside, .. })) =
        largest.filter(|i| size(&nodes[*i]) > 0).map(|i| (i, &nodes[i]))
    else {
        return line(flat, depth, out);
    };
    let head = self::flat(&nodes[..at]);
    let gap = if at > 0 && has_gap(&nodes[at - 1], &nodes[at]) { " " } else { "" };
    line(&format!("{head}{gap}("), depth, out);
    for (i, argument) in inside.split(|n| n.word() == ",").enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        lay_out(argument, depth + 1, out);
    }
    out.push('\n');
    let tail = self::flat(&nodes[at + 1..]);
    line(&if tail.is_empty() { ")".to_owned() } else { format!(") {tail}") }, depth, out);
}

fn line(text: &str, depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str(INDENT));
    out.push_str(text);
}

/// How many pieces belong to the operator before them: `bool`, `on (…)`, `group_left (…)`.
fn modifiers_len(nodes: &[Node<'_>]) -> usize {
    let mut len = 0;
    while let Some(node) = nodes.get(len) {
        match node.word() {
            "bool" => len += 1,
            "on" | "ignoring" | "group_left" | "group_right" => {
                let has_names = matches!(nodes.get(len + 1), Some(Node::Group { open: "(", .. }));
                len += 1 + usize::from(has_names);
            }
            _ => break,
        }
    }
    len
}

/// On one line.
fn flat(nodes: &[Node<'_>]) -> String {
    let mut out = String::new();
    let mut previous: Option<&Node<'_>> = None;
    for node in nodes {
        if previous.is_some_and(|p| has_gap(p, node)) {
            out.push(' ');
        }
        match node {
            Node::Token(token) => out.push_str(token.text),
            Node::Group { open, inside } => {
                out.push_str(open);
                out.push_str(&flat(inside));
                out.push_str(match *open {
                    "(" => ")",
                    "[" => "]",
                    _ => "}",
                });
            }
        }
        previous = Some(node);
    }
    out
}

fn has_gap(before: &Node<'_>, node: &Node<'_>) -> bool {
    if matches!(before.role(), Role::Tight | Role::Sign) || node.role() == Role::Tight {
        return false;
    }
    match node {
        Node::Group { open: "[", .. } => !matches!(before, Node::Group { open: "{", .. }),
        Node::Group { open: "(", .. } if before.role() == Role::Plain => {
            let is_call = matches!(before, Node::Token(token) if token.kind == Kind::Word)
                && !matches!(
                    before.word(),
                    "by" | "without"
                        | "on"
                        | "ignoring"
                        | "group_left"
                        | "group_right"
                        | "and"
                        | "or"
                        | "bool"
                );
            !is_call
        }
        _ => node.word() != ",",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let pretty = prettify(text).unwrap();
        assert_eq!(pretty, expect);
        assert_eq!(prettify(&pretty).unwrap(), pretty, "laid out twice");
    }

    #[test]
    fn what_fits_is_one_line() {
        check(
            "{a=\"b\",c!~`d`}|=\"x\"  or ip(\"::1\")|json a=\"b.c\",d|e>5 # why",
            "{a=\"b\", c!~`d`} |= \"x\" or ip(\"::1\") | json a=\"b.c\", d | e>5",
        );
        check(
            "sum(rate({a=\"b\"}|logfmt --strict --keep-empty[5m] offset -1m))by(x,y)/2>bool -1",
            "sum(rate({a=\"b\"} | logfmt --strict --keep-empty [5m] offset -1m)) by (x, y) / 2 > bool -1",
        );
        check(
            "count_over_time({a=\"b\"}!=\"x\"|json!=\"y\"|z!=\"x\"[1m])",
            "count_over_time({a=\"b\"} != \"x\" | json != \"y\" | z!=\"x\" [1m])",
        );
        check(
            "{a=\"b\"}|label_format a=b,c=\"{{.d}}\"|(a=\"b\" or c<5ms)and d=ip(\"::1\")",
            "{a=\"b\"} | label_format a=b, c=\"{{.d}}\" | (a=\"b\" or c<5ms) and d=ip(\"::1\")",
        );
    }

    #[test]
    fn longer_queries_have_a_line_per_stage_operand_and_argument() {
        check(
            "sum by (app)(rate({namespace=\"production\"} |= \"error\" | json | status >= 500 | line_format \"{{.message}} of {{.level}}\" [5m])) \
             / on(app) group_left(team) topk(5, sum by (app) (rate({namespace=\"production\"}[5m])))",
            "sum by (app) (
  rate(
    {namespace=\"production\"}
      |= \"error\"
      | json
      | status>=500
      | line_format \"{{.message}} of {{.level}}\" [5m]
  )
)
/ on (app) group_left (team)
topk(5, sum by (app) (rate({namespace=\"production\"}[5m])))",
        );
    }
}
