//! SQL as PostgreSQL writes it: its words, and what a statement does in a few of them.

mod lexer;
mod memo;
mod summary;

pub use lexer::{Kind, Lexer, Token};
pub use memo::Memo;
pub use summary::{Summary, summary};
