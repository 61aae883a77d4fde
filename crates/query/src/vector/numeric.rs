//! Sums that keep their low bits, means that do not overflow, quantiles, regression.

/// A sum with Neumaier's compensation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) total: f64,
    pub(crate) compensation: f64,
}

impl Sum {
    /// Adds `x`.
    #[inline]
    pub(crate) fn add(&mut self, x: f64) {
        let t = self.total + x;
        if t.is_infinite() {
            self.compensation = 0.0;
        } else if self.total.abs() >= x.abs() {
            self.compensation += (self.total - t) + x;
        } else {
            self.compensation += (x - t) + self.total;
        }
        self.total = t;
    }

    /// The sum.
    pub(crate) fn value(self) -> f64 {
        self.total + self.compensation
    }
}

/// A mean: by sum and count as long as the sum does not overflow, incremental from then on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    /// The sum, or after an overflow the mean itself.
    sum: Sum,
    incremental: bool,
    count: f64,
}

impl Mean {
    /// Takes `x` in.
    pub(crate) fn add(&mut self, x: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(x);
            if !next.total.is_infinite() || self.count == 1.0 {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.total /= self.count - 1.0;
            self.sum.compensation /= self.count - 1.0;
        }
        if self.sum.total.is_infinite() {
            let same_infinity = x.is_infinite() && (self.sum.total > 0.0) == (x > 0.0);
            if same_infinity || x.is_finite() {
                return;
            }
        }
        let keep = (self.count - 1.0) / self.count;
        self.sum.total *= keep;
        self.sum.compensation *= keep;
        self.sum.add(x / self.count);
    }

    /// The mean.
    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.sum.value()
        } else {
            self.sum.total / self.count + self.sum.compensation / self.count
        }
    }
}

/// Population variance by Welford's recurrence.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    /// Takes `x` in.
    pub(crate) fn add(&mut self, x: f64) {
        self.count += 1.0;
        let delta = x - self.mean.value();
        self.mean.add(delta / self.count);
        self.squares.add(delta * (x - self.mean.value()));
    }

    /// The variance.
    pub(crate) fn value(self) -> f64 {
        self.squares.value() / self.count
    }
}

/// The `q`-quantile of `values`, which it sorts; NaN counts as smallest. NaN when empty.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Ascending order with NaN before everything.
pub(crate) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (x, y) => y.cmp(&x),
    }
}

/// Least-squares line through points `(seconds, value)`: `(slope per second, value at second 0)`.
pub(crate) fn regression(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut n, mut first, mut constant) = (0.0, f64::NAN, true);
    let [mut x_sum, mut y_sum, mut xy_sum, mut xx_sum] = [Sum::default(); 4];
    for (x, y) in points {
        if n == 0.0 {
            first = y;
        }
        constant &= y == first;
        n += 1.0;
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (x, y, xy, xx) = (x_sum.value(), y_sum.value(), xy_sum.value(), xx_sum.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}
