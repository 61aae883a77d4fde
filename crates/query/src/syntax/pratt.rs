//! Precedence climbing: turns operands and infix operators into a tree, whatever the language.

use model::Result;

/// How tightly an infix operator binds; higher is tighter, 0 is reserved for "not an operator here".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Power {
    pub(crate) level: u8,
    pub(crate) right_associative: bool,
}

/// A language with infix operators.
pub(crate) trait Grammar {
    /// The tree.
    type Node;
    /// What an operator and its modifiers carry.
    type Operator;

    /// Reads an operand: a prefix operator with its operand, or a primary expression with its postfixes.
    fn operand(&mut self) -> Result<Self::Node>;

    /// The infix operator that comes next, not yet consumed.
    fn peek_power(&self) -> Option<Power>;

    /// Consumes that operator and its modifiers.
    fn operator(&mut self) -> Result<Self::Operator>;

    /// Builds the node of an operation.
    fn combine(
        &mut self,
        left: Self::Node,
        operator: Self::Operator,
        right: Self::Node,
    ) -> Result<Self::Node>;
}

/// Reads an expression whose infix operators all bind at least as tightly as `min_level`.
pub(crate) fn climb<G: Grammar>(grammar: &mut G, min_level: u8) -> Result<G::Node> {
    let mut left = grammar.operand()?;
    while let Some(power) = grammar.peek_power() {
        if power.level < min_level {
            break;
        }
        let operator = grammar.operator()?;
        let right_level = if power.right_associative { power.level } else { power.level + 1 };
        let right = climb(grammar, right_level)?;
        left = grammar.combine(left, operator, right)?;
    }
    Ok(left)
}
