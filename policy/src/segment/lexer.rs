//! Text to tokens, each with its position in characters from 1.

use super::{Operator, PredicateError};
use crate::decimal::Decimal;
use crate::moment::parse_date;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    And,
    Or,
    Not,
    In,
    Open,
    Close,
    Comma,
    Operator(Operator),
    Tag(Box<str>),
    /// Text in quotes.
    Text(Box<str>),
    Number(Box<str>),
    Date(Box<str>),
}

pub(super) struct Positioned {
    pub(super) token: Token,
    pub(super) position: usize,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Positioned>, PredicateError> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        chars: &chars,
        at: 0,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.take_while(char::is_whitespace);
        let position = lexer.at + 1;
        match lexer.token()? {
            Some(token) => tokens.push(Positioned { token, position }),
            None => return Ok(tokens),
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn token(&mut self) -> Result<Option<Token>, PredicateError> {
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let token = match first {
            '(' => self.single(Token::Open),
            ')' => self.single(Token::Close),
            ',' => self.single(Token::Comma),
            '\'' => Token::Text(self.quoted(first)?),
            '=' | '!' | '<' | '>' => Token::Operator(self.operator()?),
            c if c.is_ascii_digit() || c == '-' => self.number_or_date()?,
            c if c.is_alphabetic() => self.word(),
            c => {
                return Err(PredicateError::new(
                    self.at + 1,
                    format!("`{}` has no meaning here", c.escape_debug()),
                    "write a tag, a comparison, `and`, `or`, `not`, `in` or a parenthesis",
                ));
            }
        };
        Ok(Some(token))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| accept(*c)) {
            taken.push(c);
            self.at += 1;
        }
        taken
    }

    fn quoted(&mut self, quote: char) -> Result<Box<str>, PredicateError> {
        let start = self.at + 1;
        let mut taken = String::new();
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += 1;
            if c != quote {
                taken.push(c);
            } else if self.peek() == Some(quote) {
                taken.push(quote);
                self.at += 1;
            } else {
                return Ok(taken.into());
            }
        }
        Err(PredicateError::new(
            start,
            "the quotation does not end",
            format!("close it with {quote}; a {quote} inside it is written twice"),
        ))
    }

    fn operator(&mut self) -> Result<Operator, PredicateError> {
        let start = self.at + 1;
        let symbol = self.take_while(|c| matches!(c, '=' | '!' | '<' | '>'));
        match symbol.as_str() {
            "=" => Ok(Operator::Equal),
            "!=" | "<>" => Ok(Operator::NotEqual),
            "<" => Ok(Operator::Less),
            "<=" => Ok(Operator::LessOrEqual),
            ">" => Ok(Operator::Greater),
            ">=" => Ok(Operator::GreaterOrEqual),
            _ => Err(PredicateError::new(
                start,
                format!("`{symbol}` is not a comparison"),
                "use one of = != < <= > >=",
            )),
        }
    }

    fn number_or_date(&mut self) -> Result<Token, PredicateError> {
        let start = self.at + 1;
        let text = self.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '.'));
        if parse_date(&text).is_some() {
            return Ok(Token::Date(text.into()));
        }
        if text.parse::<Decimal>().is_ok() {
            return Ok(Token::Number(text.into()));
        }
        Err(PredicateError::new(
            start,
            format!("`{text}` is neither a decimal nor a date"),
            "write a number like 12.50, a date like 2026-11-23, or a value in single quotes",
        ))
    }

    fn word(&mut self) -> Token {
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        match word.to_ascii_lowercase().as_str() {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            "in" => Token::In,
            _ => Token::Tag(word.into()),
        }
    }
}
