//! A report as one page that needs nothing else: what a plan or a drill did, with its time drawn.
//! Knows HTML and the messages; loads nothing and runs nothing.

use super::{bytes, loss, recovered, span, wall};
use arbiter_proto::v1 as pb;
use std::fmt::Write;

/// Width of the drawing, in its own units.
const WIDTH: f64 = 720.0;
/// Where the bars begin, behind the names of the steps.
const LEFT: f64 = 150.0;
/// Height of one step's line.
const LINE: f64 = 22.0;
/// The narrowest bar that can be seen.
const BAR_MIN: f64 = 1.5;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1a1a1a;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem .25rem 0;\
border-bottom:1px solid #ddd;vertical-align:top}svg{width:100%;height:auto;font-size:12px}\
.done{fill:#2b7a4b}.failed{fill:#b3261e}.degraded,.unanswered{fill:#b26a00}.other{fill:#8a8a8a}\
pre{overflow:auto}";

/// The page of a plan.
pub(in crate::cli) fn page(plan: &pb::Plan) -> String {
    framed(&super::plan::title(plan), &body(plan))
}

/// The page of a drill, with the plans that it opened.
pub(in crate::cli) fn drill(drill: &pb::Drill, plans: &[pb::Plan]) -> String {
    let mut out = format!(
        "<p>Began {} by {}{}.</p>\n<p><b>{}</b>{}</p>\n",
        wall(drill.began_wall_ms),
        text(&drill.began_by),
        said(": ", &drill.reason),
        text(&drill.state),
        said(": ", &drill.why)
    );
    let listed = |heading: &str, lines: &[String]| {
        let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", text(line))).collect();
        if items.is_empty() { items } else { format!("<h2>{heading}</h2>\n<ul>{items}</ul>\n") }
    };
    if drill.measured {
        let rows = super::drill::measured(drill).into_iter().skip(1);
        let head = ["Measure", "Found", "Objective", "State"];
        let _ = write!(out, "<h2>Measured</h2>\n{}", table(&head, rows));
    }
    let parts = drill.parts.iter().map(|part| vec![part.name.clone(), part.said.clone()]);
    if !drill.parts.is_empty() {
        let _ = write!(out, "<h2>Parts</h2>\n{}", table(&["Part", "What"], parts));
    }
    out.push_str(&listed("Faults", &drill.faults));
    out.push_str(&listed("Proposed", &drill.proposals));
    for plan in plans {
        let title = text(&super::plan::title(plan));
        let _ = write!(out, "<h1>{title}</h1>\n{}", body(plan));
    }
    framed(&super::drill::title(drill), &out)
}

/// `text` after `before`; nothing where there is none.
fn said(before: &str, what: &str) -> String {
    if what.is_empty() { String::new() } else { format!("{before}{}", text(what)) }
}

fn framed(title: &str, body: &str) -> String {
    let title = text(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    )
}

fn body(plan: &pb::Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<p>Opened {} by {}{}. Open for {}.</p>",
        wall(plan.opened_wall_ms),
        text(&plan.opened_by),
        said(": ", &plan.reason),
        span(plan.took_ms)
    );
    if !plan.halt_reason.is_empty() {
        let (why, next) = (text(&plan.halt_reason), text(&plan.halt_next));
        let _ = writeln!(out, "<p><b>Halted</b>: {why}. Next: <code>{next}</code></p>");
    }
    out.push_str("<h2>Steps</h2>\n");
    out.push_str(&timeline(&plan.steps));
    out.push_str(&steps(&plan.steps));
    out.push_str(&evidence(&plan.evidence));
    out.push_str(&recovery(plan));
    out.push_str("<h2>Loss</h2>\n");
    let bound = if plan.loss_known { bytes(plan.loss_bytes) } else { "not known".to_owned() };
    let _ = writeln!(out, "<p>Bound at the decision, as last heard: {bound}.</p>");
    let losses = loss::losses(plan, super::Look::default());
    if !losses.is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", text(&losses));
    }
    out
}

/// One bar a step, one after the other.
fn timeline(steps: &[pb::PlanStep]) -> String {
    let total: u64 = steps.iter().map(|step| step.took_ms).sum();
    let scale = (WIDTH - LEFT) / total.max(1) as f64;
    let height = LINE * steps.len() as f64;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    let mut from = 0u64;
    for (at, step) in steps.iter().enumerate() {
        let (x, y) = (LEFT + from as f64 * scale, LINE * at as f64);
        let width = (step.took_ms as f64 * scale).max(BAR_MIN);
        let class = match step.state.as_str() {
            known @ ("done" | "failed" | "degraded" | "unanswered") => known,
            _ => "other",
        };
        let (base, name) = (y + 15.0, text(&step.name));
        let _ = writeln!(
            out,
            "<text x=\"0\" y=\"{base:.1}\">{name}</text><rect class=\"{class}\" x=\"{x:.1}\" \
             y=\"{:.1}\" width=\"{width:.1}\" height=\"14\"><title>{name}: {} ms</title></rect>",
            y + 4.0,
            step.took_ms
        );
        from += step.took_ms;
    }
    out + "</svg>\n"
}

fn steps(steps: &[pb::PlanStep]) -> String {
    let rows = steps.iter().map(|step| {
        vec![
            step.name.clone(),
            step.on.clone(),
            step.state.clone(),
            format!("{} ms", step.took_ms),
            step.note.clone(),
        ]
    });
    table(&["Step", "On", "State", "Took", "Note"], rows)
}

fn evidence(found: &[pb::Evidence]) -> String {
    let rows = found.iter().map(|one| {
        vec![
            one.instance.clone(),
            one.kind.clone(),
            one.agent.clone(),
            one.token.clone(),
            span(one.waited_ms),
            one.note.clone(),
        ]
    });
    let head = ["Instance", "Evidence", "Agent", "Token", "Waited", "Note"];
    format!("<h2>Proof of the fence</h2>\n{}", table(&head, rows))
}

/// What became of each instance, and when clients could go on.
fn recovery(plan: &pb::Plan) -> String {
    let mut out = titled("Instances", recovered::instances(plan));
    out.push_str(&titled("Recovery", recovered::recovered(plan)));
    for sentence in recovered::since(plan) {
        let _ = writeln!(out, "<p>{}</p>", text(&sentence));
    }
    out + &titled("As of this report", recovered::present(plan))
}

/// A table under a heading; nothing where it has no rows.
fn titled(heading: &str, found: recovered::Table) -> String {
    if found.rows.is_empty() {
        return String::new();
    }
    format!("<h2>{heading}</h2>\n{}", table(&found.head, found.rows.into_iter()))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: String = head.iter().map(|cell| format!("<th>{cell}</th>")).collect();
    let mut out = format!("<table><tr>{head}</tr>\n");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", text(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out + "</table>\n"
}

/// Text as HTML shows it: what others wrote is never markup.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> pb::Plan {
        let step = |name: &str, took_ms| pb::PlanStep {
            name: name.into(),
            state: "done".into(),
            took_ms,
            note: "<script>alert(1)</script>".into(),
            ..pb::PlanStep::default()
        };
        pb::Plan {
            id: 7,
            kind: "failover".into(),
            steps: vec![step("preflight", 100), step("prove-fence", 300)],
            evidence: vec![pb::Evidence { instance: "db-eu".into(), ..Default::default() }],
            ..pb::Plan::default()
        }
    }

    #[test]
    fn a_step_begins_where_the_one_before_it_ended_and_is_as_long_as_it_took() {
        let drawn = timeline(&plan().steps);
        let quarter = (WIDTH - LEFT) / 4.0;
        let bar = |x: f64| format!("x=\"{x:.1}\"");
        assert!(drawn.contains(&bar(LEFT)) && drawn.contains(&bar(LEFT + quarter)));
        assert!(drawn.contains(&format!("width=\"{:.1}\"", 3.0 * quarter)), "{drawn}");
    }

    #[test]
    fn a_drill_shows_what_it_measured_and_the_plans_that_it_opened() {
        let drill = pb::Drill {
            id: 91,
            kind: "switchover".into(),
            state: "completed".into(),
            began_by: "<i>ada</i>".into(),
            measured: true,
            recovery_ms: 2_300,
            rto_ms: 2_000,
            parts: vec![pb::DrillPart { name: "check:us".into(), said: "all well".into() }],
            proposals: vec!["raise <rto>".into()],
            ..pb::Drill::default()
        };
        let page = super::drill(&drill, &[plan()]);
        for said in [
            "<td>recovery</td><td>2.3 s</td><td>2.0 s</td><td>failed</td>",
            "<td>check:us</td><td>all well</td>",
            "<li>raise &lt;rto&gt;</li>",
            "<h1>plan 7: failover",
            "<svg",
            "db-eu",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        assert!(!page.contains("<i>") && !page.contains("<script") && !page.contains("http"));
        assert_eq!(page.matches("</html>").count(), 1);
    }

    #[test]
    fn what_others_wrote_is_no_markup_and_nothing_is_loaded() {
        let page = page(&plan());
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("http") && !page.contains("src="), "{page}");
        assert!(page.contains("db-eu") && page.ends_with("</html>\n"));
    }
}
