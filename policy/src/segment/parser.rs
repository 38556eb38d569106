//! Tokens to a checked expression: recursive descent, bounded depth, types checked on the way.

use super::lexer::{Positioned, Token};
use super::{ColumnType, Columns, Expr, Literal, Operator, PREDICATE_DEPTH_MAX, PredicateError};
use crate::text::echo;

/// Parses all tokens; `end` is the position just past the text.
pub(super) fn parse(
    tokens: &[Positioned],
    end: usize,
    declared: &Columns,
) -> Result<(Expr, Columns), PredicateError> {
    let mut parser = Parser {
        tokens,
        at: 0,
        end,
        declared,
        used: Columns::new(),
    };
    let root = parser.any(0)?;
    if parser.at < tokens.len() {
        return Err(parser.refused(
            "something follows the end of the predicate",
            "join comparisons with `and` or `or`",
        ));
    }
    Ok((root, parser.used))
}

struct Parser<'a> {
    tokens: &'a [Positioned],
    at: usize,
    end: usize,
    declared: &'a Columns,
    used: Columns,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Expr, PredicateError> {
        let first = self.all(depth)?;
        let mut parts = vec![first];
        while self.take_if(&Token::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(single_or(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, PredicateError> {
        let first = self.term(depth)?;
        let mut parts = vec![first];
        while self.take_if(&Token::And) {
            parts.push(self.term(depth)?);
        }
        Ok(single_or(parts, Expr::All))
    }

    fn term(&mut self, depth: usize) -> Result<Expr, PredicateError> {
        if depth > PREDICATE_DEPTH_MAX {
            return Err(self.refused(
                "parentheses and `not` are nested too deeply",
                &format!("at most {PREDICATE_DEPTH_MAX} levels pass"),
            ));
        }
        if self.take_if(&Token::Not) {
            return Ok(Expr::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.take_if(&Token::Open) {
            let inner = self.any(depth + 1)?;
            self.expect(&Token::Close, "a parenthesis is not closed", "write `)`")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, PredicateError> {
        let position = self.position();
        let Some(Token::Column(column)) = self.next() else {
            return Err(PredicateError::new(
                position,
                "a column is expected",
                "write `column = literal`; text stands in single quotes, columns in none or double quotes",
            ));
        };
        let column_type = self.declared_type(column, position)?;
        let negated = self.take_if(&Token::Not);
        if self.take_if(&Token::In) {
            let literals = self.literals(column, column_type)?;
            let within = Expr::In {
                column: column.clone(),
                literals,
            };
            return Ok(if negated {
                Expr::Not(Box::new(within))
            } else {
                within
            });
        }
        let position = self.position();
        match self.next() {
            Some(&Token::Operator(operator)) if !negated => {
                check_operator(operator, column_type, position)?;
                let literal = self.literal(column, column_type)?;
                Ok(Expr::Compare {
                    column: column.clone(),
                    operator,
                    literal,
                })
            }
            _ => Err(PredicateError::new(
                position,
                format!("a comparison is expected after `{}`", echo(column)),
                "write one of = != < <= > >= or `in (..)`",
            )),
        }
    }

    fn literals(
        &mut self,
        column: &str,
        column_type: ColumnType,
    ) -> Result<Vec<Literal>, PredicateError> {
        self.expect(&Token::Open, "`in` needs a list", "write `in ('a', 'b')`")?;
        let mut literals = vec![self.literal(column, column_type)?];
        while self.take_if(&Token::Comma) {
            literals.push(self.literal(column, column_type)?);
        }
        self.expect(
            &Token::Close,
            "the list is not closed",
            "write `)` after its last literal",
        )?;
        Ok(literals)
    }

    fn literal(&mut self, column: &str, expected: ColumnType) -> Result<Literal, PredicateError> {
        let position = self.position();
        match self.next() {
            Some(Token::Literal(literal)) if literal.column_type() == expected => {
                Ok(literal.clone())
            }
            Some(Token::Literal(literal)) => Err(PredicateError::new(
                position,
                format!(
                    "a {} is compared with column `{}`, which is a {expected}",
                    literal.column_type(),
                    echo(column)
                ),
                literal_form(expected),
            )),
            _ => Err(PredicateError::new(
                position,
                "a literal is expected",
                literal_form(expected),
            )),
        }
    }

    /// The column's type; the column is then counted as used.
    fn declared_type(
        &mut self,
        column: &str,
        position: usize,
    ) -> Result<ColumnType, PredicateError> {
        let Some(&column_type) = self.declared.get(column) else {
            let known: Vec<_> = self.declared.keys().map(|name| echo(name)).collect();
            return Err(PredicateError::new(
                position,
                format!("column `{}` is not declared", echo(column)),
                format!(
                    "declare it under `columns`, or use one of: {}",
                    known.join(", ")
                ),
            ));
        };
        self.used.insert(column.into(), column_type);
        Ok(column_type)
    }

    fn position(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.end, |token| token.position)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at).map(|token| &token.token);
        self.at += 1;
        token
    }

    fn take_if(&mut self, wanted: &Token) -> bool {
        let found = self
            .tokens
            .get(self.at)
            .is_some_and(|token| token.token == *wanted);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(
        &mut self,
        wanted: &Token,
        problem: &str,
        would_pass: &str,
    ) -> Result<(), PredicateError> {
        if self.take_if(wanted) {
            Ok(())
        } else {
            Err(self.refused(problem, would_pass))
        }
    }

    fn refused(&self, problem: &str, would_pass: &str) -> PredicateError {
        PredicateError::new(self.position(), problem, would_pass)
    }
}

fn single_or(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// Text has no order here: it would depend on a collation that two institutions may not share.
fn check_operator(
    operator: Operator,
    column_type: ColumnType,
    position: usize,
) -> Result<(), PredicateError> {
    if column_type == ColumnType::Text && operator.is_order() {
        return Err(PredicateError::new(
            position,
            "text has no order",
            "use = or !=, or declare the column as number or date",
        ));
    }
    Ok(())
}

fn literal_form(expected: ColumnType) -> &'static str {
    match expected {
        ColumnType::Text => "write text in single quotes, like 'gold'",
        ColumnType::Number => "write a number without quotes, like 12.50",
        ColumnType::Date => "write a date without quotes, like 2026-11-23",
    }
}
