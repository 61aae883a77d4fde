//! `info(v, {selector})`: adds the data labels of info metrics to the series of `v`.

use model::{Error, Result};

use super::Evaluator;
use crate::promql::ast::Expr;
use crate::vector::{Grid, Row};

impl Evaluator<'_> {
    pub(super) fn info_call(&mut self, _args: &[Expr], _grid: Grid) -> Result<Vec<Row>> {
        Err(Error::invalid("function info() is not supported yet"))
    }
}
