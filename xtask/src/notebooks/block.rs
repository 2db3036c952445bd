//! The parts of a page that are written by the command, between two comments.

use thiserror::Error;

/// Why a block cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// A comment that bounds it is missing, or they are in the wrong order.
    #[error("there is no {0} followed by {1}: put the two lines back")]
    Missing(String, String),
    /// It is there twice.
    #[error("{0} is there twice: remove one block")]
    Twice(String),
}

/// The comment that begins a block.
pub fn begin(name: &str) -> String {
    format!("<!-- {name}:begin -->")
}

/// The comment that ends a block.
pub fn end(name: &str) -> String {
    format!("<!-- {name}:end -->")
}

/// A block as it stands in a page: its text with an empty line on both sides, as Markdown wants it.
fn framed(text: &str) -> String {
    format!("\n\n{}\n\n", text.trim_end())
}

/// The page with other text in a block.
pub fn replace(page: &str, name: &str, text: &str) -> Result<String, BlockError> {
    let (before, _, after) = split(page, name)?;
    Ok(format!("{before}{}{after}", framed(text)))
}

/// Whether a block of the page holds this text.
pub fn holds(page: &str, name: &str, text: &str) -> Result<bool, BlockError> {
    let (_, found, _) = split(page, name)?;
    Ok(found == framed(text))
}

/// What comes before the text of a block (with the comment), the text, and what comes after it.
fn split<'a>(page: &'a str, name: &str) -> Result<(&'a str, &'a str, &'a str), BlockError> {
    let (begin, end) = (begin(name), end(name));
    let missing = || BlockError::Missing(begin.clone(), end.clone());
    for comment in [&begin, &end] {
        if page.matches(comment.as_str()).count() > 1 {
            return Err(BlockError::Twice(comment.clone()));
        }
    }
    let from = page.find(&begin).ok_or_else(missing)? + begin.len();
    let (before, rest) = page.split_at(from);
    let (text, after) = rest.split_at(rest.find(&end).ok_or_else(missing)?);
    Ok((before, text, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n\n<!-- result:begin -->\nold\n<!-- result:end -->\n\nprose\n";

    #[test]
    fn a_block_is_replaced_and_the_rest_is_left_alone() {
        let page = replace(PAGE, "result", "new\n").unwrap();
        assert_eq!(page, "# A\n\n<!-- result:begin -->\n\nnew\n\n<!-- result:end -->\n\nprose\n");
        assert!(holds(&page, "result", "new").unwrap());
        assert!(!holds(&page, "result", "newer").unwrap());
        assert_eq!(replace(&page, "result", "new").unwrap(), page);
    }

    #[test]
    fn a_block_that_is_not_there_once_is_an_error() {
        assert!(matches!(replace("", "result", ""), Err(BlockError::Missing(..))));
        let reversed = "<!-- result:end --><!-- result:begin -->";
        assert!(matches!(replace(reversed, "result", ""), Err(BlockError::Missing(..))));
        assert!(matches!(replace(&PAGE.repeat(2), "result", ""), Err(BlockError::Twice(_))));
    }
}
