//! Tokens to a checked expression: recursive descent, bounded depth, types checked on the way.

use super::lexer::{Positioned, Token};
use super::{
    Bounds, Domain, Domains, Expr, Literal, Operator, PREDICATE_DEPTH_MAX, PredicateError,
};
use crate::text::echo;

/// Values of a closed list that a message lists, at most.
const SHOWN_VALUES: usize = 12;

/// Parses all tokens; `end` is the position just past the text.
pub(super) fn parse(
    tokens: &[Positioned],
    end: usize,
    known: &Domains,
) -> Result<(Expr, Domains), PredicateError> {
    let mut parser = Parser {
        tokens,
        at: 0,
        end,
        known,
        used: Domains::new(),
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
    known: &'a Domains,
    used: Domains,
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
        let Some(Token::Tag(tag)) = self.next() else {
            return Err(PredicateError::new(
                position,
                "a tag is expected",
                "write `tag = literal`; values of closed lists stand in single quotes",
            ));
        };
        let domain = self.domain(tag, position)?;
        let negated = self.take_if(&Token::Not);
        if self.take_if(&Token::In) {
            let literals = self.literals(tag, domain)?;
            let within = Expr::In {
                tag: tag.clone(),
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
                check_operator(operator, tag, domain, position)?;
                Ok(Expr::Compare {
                    tag: tag.clone(),
                    operator,
                    literal: self.literal(tag, domain)?,
                })
            }
            _ => Err(PredicateError::new(
                position,
                format!("a comparison is expected after `{}`", echo(tag)),
                "write one of = != < <= > >= or `in (..)`",
            )),
        }
    }

    fn literals(&mut self, tag: &str, domain: &Domain) -> Result<Vec<Literal>, PredicateError> {
        self.expect(&Token::Open, "`in` needs a list", "write `in ('a', 'b')`")?;
        let mut literals = vec![self.literal(tag, domain)?];
        while self.take_if(&Token::Comma) {
            literals.push(self.literal(tag, domain)?);
        }
        self.expect(
            &Token::Close,
            "the list is not closed",
            "write `)` after its last literal",
        )?;
        Ok(literals)
    }

    fn literal(&mut self, tag: &str, domain: &Domain) -> Result<Literal, PredicateError> {
        let position = self.position();
        let refused = |problem| PredicateError::new(position, problem, literal_form(domain));
        let (sort, text) = match self.next() {
            Some(Token::Text(text)) => ("text", text),
            Some(Token::Number(text)) => ("a number", text),
            Some(Token::Date(text)) => ("a date", text),
            _ => return Err(refused("a literal is expected".to_owned())),
        };
        let wanted = match domain {
            Domain::Ordered(_) | Domain::Unordered(_) => "text",
            Domain::Number(_) => "a number",
            Domain::Date(_) => "a date",
        };
        if sort != wanted {
            return Err(refused(format!(
                "{sort} is compared with tag `{}`",
                echo(tag)
            )));
        }
        domain.read(text).map_err(|_| {
            refused(format!(
                "`{}` is no value of tag `{}`",
                echo(text),
                echo(tag)
            ))
        })
    }

    /// The tag's domain; the tag is then counted as used.
    fn domain(&mut self, tag: &str, position: usize) -> Result<&'a Domain, PredicateError> {
        let Some(domain) = self.known.get(tag) else {
            let known: Vec<_> = self.known.keys().map(|name| echo(name)).collect();
            return Err(PredicateError {
                unknown_tag: Some(tag.into()),
                ..PredicateError::new(
                    position,
                    format!("`{}` is no tag of this agreement", echo(tag)),
                    format!("use one of: {}", known.join(", ")),
                )
            });
        };
        self.used.insert(tag.into(), domain.clone());
        Ok(domain)
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

fn check_operator(
    operator: Operator,
    tag: &str,
    domain: &Domain,
    position: usize,
) -> Result<(), PredicateError> {
    if operator.is_order() && !domain.is_ordered() {
        return Err(PredicateError::new(
            position,
            format!("the values of `{}` have no order", echo(tag)),
            "use =, != or in",
        ));
    }
    Ok(())
}

fn literal_form(domain: &Domain) -> String {
    match domain {
        Domain::Ordered(values) | Domain::Unordered(values) => {
            let mut shown: Vec<_> = values
                .iter()
                .take(SHOWN_VALUES)
                .map(|value| format!("'{}'", echo(value).replace('\'', "''")))
                .collect();
            if values.len() > SHOWN_VALUES {
                shown.push("..".to_owned());
            }
            format!("write one of {}", shown.join(", "))
        }
        Domain::Number(bounds) => point_form("a number", "12.50", *bounds),
        Domain::Date(bounds) => point_form("a date", "2026-11-23", *bounds),
    }
}

fn point_form(sort: &str, like: &str, bounds: Bounds) -> String {
    if bounds == Bounds::default() {
        return format!("write {sort} without quotes, like {like}");
    }
    format!("write {sort} without quotes, {bounds}")
}
