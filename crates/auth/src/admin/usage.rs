//! The command `usage`.

use crate::cli::UsageOptions;
use crate::clock::now;
use crate::db::Db;
use crate::error::BoxError;
use crate::usage::UsageQuestion;

/// Prints what the counts of requests add up to, page by page.
pub async fn usage(db: &Db, options: &UsageOptions) -> Result<(), BoxError> {
    let mut question = UsageQuestion::read(options.parameters(), now())?;
    let mut is_first = true;
    loop {
        let page = db.usage(&question.query).await?;
        match options.csv {
            true => print(&question.csv(&page, is_first)),
            false => {
                page.rows.iter().for_each(|row| print(&format!("{}\n", question.row_json(row))))
            }
        }
        is_first = false;
        let Some(last) = page.rows.into_iter().next_back().filter(|_| page.has_more) else {
            return Ok(());
        };
        question.query.after = Some(last.values);
    }
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn print(text: &str) {
    print!("{text}");
}
