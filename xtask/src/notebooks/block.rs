//! The generated blocks of a page, each between two comments.

fn begin(name: &str) -> String {
    format!("<!-- {name}:begin -->")
}

fn end(name: &str) -> String {
    format!("<!-- {name}:end -->")
}

/// An empty block, for a new page.
pub fn empty(name: &str) -> String {
    format!("{}\n{}\n", begin(name), end(name))
}

/// Replaces the text of a block in a page. Blank lines surround it, as Markdown requires.
pub fn replace(page: &str, name: &str, text: &str) -> Result<String, String> {
    let (begin, end) = (begin(name), end(name));
    if let Some(twice) = [&begin, &end].iter().find(|it| page.matches(it.as_str()).count() > 1) {
        return Err(format!("{twice} is there twice: remove one block"));
    }
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim_end()))
    });
    parts.ok_or_else(|| format!("there is no {begin} followed by {end}: put the two lines back"))
}

#[cfg(test)]
mod tests {
    use super::replace;

    const PAGE: &str = "# A\n\n<!-- result:begin -->\nold\n<!-- result:end -->\n\nprose\n";

    #[test]
    fn a_block_is_replaced_and_the_rest_is_left_alone() {
        let page = replace(PAGE, "result", "new\n").unwrap();
        assert_eq!(page, "# A\n\n<!-- result:begin -->\n\nnew\n\n<!-- result:end -->\n\nprose\n");
        assert_eq!(replace(&page, "result", "new").unwrap(), page);
    }

    #[test]
    fn a_block_that_is_not_there_once_is_an_error() {
        for page in ["", "<!-- result:end --><!-- result:begin -->"] {
            assert!(replace(page, "result", "").unwrap_err().contains("put the two lines back"));
        }
        assert!(replace(&PAGE.repeat(2), "result", "").unwrap_err().contains("is there twice"));
    }
}
