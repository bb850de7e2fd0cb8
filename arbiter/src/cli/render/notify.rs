//! `arbiter notify test`: each receiver, and what became of the test.

use super::{Look, next_line, row, span};
use arbiter_proto::v1 as pb;

pub(in crate::cli) fn tested(answer: &pb::TestNotifyResponse, look: Look) -> String {
    let mut rows = vec![row(&["RECEIVER", "AT", "TEST", "AFTER", "WHY"])];
    for one in &answer.deliveries {
        let word = if one.delivered { "delivered" } else { "failed" };
        rows.push(row(&[&one.receiver, &one.url, word, &span(one.took_ms), &one.why]));
    }
    let failed = answer.deliveries.iter().filter(|one| !one.delivered).count();
    let (verdict, next) = match failed {
        0 => ("everybody was told", ""),
        _ => ("not everybody was told", "arbiter notify test, once what is named above is mended"),
    };
    let head = format!("{verdict} by {}\n\n", answer.sent_by);
    head + &look.columns(&rows) + "\n" + &next_line(next)
}
