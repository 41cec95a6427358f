//! The README's picture, drawn from a small table that is committed next to it.
//!
//! The SVG is written here rather than by a crate, so that `cargo xtask demo` still builds in a second, and because a
//! style sheet in the file lets one picture follow the reader's light or dark theme.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// The table of the loss curve, from the repository's root.
const TABLE: &str = "assets/pictures/loss.csv";
/// The picture drawn from it.
const PICTURE: &str = "assets/pictures/loss.svg";

/// Steps whose mean training loss becomes one row of the table.
const STEPS_PER_ROW: u32 = 20;

/// The loss that nanoGPT states for 2,000 steps of the same setting.
/// Source: README of karpathy/nanoGPT, "I only have a macbook".
const NANOGPT: f64 = 1.88;

/// The picture's size and the edges of the plot in it, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 744.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 340.0;

/// The losses at the plot's upper and lower edge, and the distance of the lines between them.
const MAX_LOSS: f64 = 4.5;
const MIN_LOSS: f64 = 1.5;
const GRID: f64 = 0.5;

const STYLE: &str = "\
.page{fill:#fff}.grid{stroke:#d8dee4}.text{fill:#57606a}.train{stroke:#8ab4f8}.val{stroke:#0550ae}.val-point{fill:#0550ae}
.peer{stroke:#bc4c00}.peer-text{fill:#bc4c00}
@media(prefers-color-scheme:dark){.page{fill:#0d1117}.grid{stroke:#30363d}.text{fill:#9da7b3}.train{stroke:#315c96}
.val{stroke:#79c0ff}.val-point{fill:#79c0ff}.peer{stroke:#f0883e}.peer-text{fill:#f0883e}}
text{font:13px system-ui,sans-serif}path{fill:none}";

/// Draws the loss curve from its table. If a run is given, first makes the table from the run's metrics.
pub fn draw(run: Option<&Path>) -> io::Result<()> {
    let root = crate::root();
    if let Some(run) = run {
        let metrics = fs::read_to_string(run.join("metrics.jsonl"))?;
        fs::write(root.join(TABLE), table(&metrics))?;
        println!("wrote {TABLE}");
    }
    let table = fs::read_to_string(root.join(TABLE))?;
    fs::write(root.join(PICTURE), picture(&table).map_err(io::Error::other)?)?;
    println!("wrote {PICTURE}");
    Ok(())
}

/// The number of a key in a line of JSON without nested objects.
fn number(line: &str, key: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

/// `step,train_loss,val_loss`: the training loss is the mean over the steps since the last row; a missing loss stays
/// empty.
fn table(metrics: &str) -> String {
    let mut out = String::from("step,train_loss,val_loss\n");
    let (mut sum, mut n) = (0.0, 0u32);
    for line in metrics.lines() {
        let Some(step) = number(line, "step") else { continue };
        if let Some(loss) = number(line, "loss") {
            (sum, n) = (sum + loss, n + 1);
            if n == STEPS_PER_ROW {
                let _ = writeln!(out, "{step},{:.4},", sum / f64::from(n));
                (sum, n) = (0.0, 0);
            }
        }
        if let Some(loss) = number(line, "val_loss") {
            let _ = writeln!(out, "{step},,{loss:.4}");
        }
    }
    out
}

/// The points of a column of the table.
fn column(table: &str, index: usize) -> Result<Vec<(f64, f64)>, String> {
    let mut points = vec![];
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.get(index).is_some_and(|cell| !cell.is_empty()) {
            let cell = |i: usize| cells[i].parse::<f64>().map_err(|e| format!("{TABLE}: {line}: {e}"));
            points.push((cell(0)?, cell(index)?));
        }
    }
    if points.is_empty() { Err(format!("{TABLE} has no values in column {index}")) } else { Ok(points) }
}

fn picture(table: &str) -> Result<String, String> {
    let (train, val) = (column(table, 1)?, column(table, 2)?);
    let last_step = train.iter().chain(&val).map(|point| point.0).fold(0.0, f64::max);
    let x = |step: f64| LEFT + step / last_step * (RIGHT - LEFT);
    let y = |loss: f64| BOTTOM - (loss - MIN_LOSS) / (MAX_LOSS - MIN_LOSS) * (BOTTOM - TOP);
    let path = |points: &[(f64, f64)]| {
        let points = points.iter().map(|&(step, loss)| format!("{:.1},{:.1}", x(step), y(loss)));
        format!("M{}", points.collect::<Vec<_>>().join(" "))
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Loss of tril's nano preset on tinyshakespeare over 2,000 steps</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n"
    );
    let text = |class: &str, anchor: &str, (x, y): (f64, f64), text: &str| {
        format!("<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
    };
    out += &text(
        "text",
        "start",
        (LEFT, 26.0),
        "loss in nats per character: tril train tinyshakespeare.txt --preset nano",
    );
    let n_line = ((MAX_LOSS - MIN_LOSS) / GRID) as u32;
    for i in 0..=n_line {
        let loss = MIN_LOSS + f64::from(i) * GRID;
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT},{0:.1} {RIGHT},{0:.1}\"/>", y(loss));
        out += &text("text", "end", (LEFT - 8.0, y(loss) + 4.0), &format!("{loss:.1}"));
    }
    for i in 0..=4 {
        let step = last_step * f64::from(i) / 4.0;
        let anchor = if i == 4 { "end" } else { "middle" };
        let unit = if i == 4 { " steps" } else { "" };
        out += &text("text", anchor, (x(step), BOTTOM + 20.0), &format!("{step}{unit}"));
    }
    let _ = writeln!(out, "<path class=\"train\" d=\"{}\"/>", path(&train));
    let _ = writeln!(out, "<path class=\"val\" stroke-width=\"2\" d=\"{}\"/>", path(&val));
    for &(step, loss) in &val {
        let _ = writeln!(out, "<circle class=\"val-point\" r=\"3\" cx=\"{:.1}\" cy=\"{:.1}\"/>", x(step), y(loss));
    }
    let level = y(NANOGPT);
    let _ =
        writeln!(out, "<path class=\"peer\" stroke-dasharray=\"6 4\" d=\"M{LEFT},{level:.1} {RIGHT},{level:.1}\"/>");
    let published = format!("nanoGPT's README states {NANOGPT} after 2,000 steps of this setting");
    out += &text("peer-text", "start", (LEFT + 8.0, level + 18.0), &published);
    let legend = [("train", "training, mean of 20 steps".to_string()), ("val", validation(&val))];
    for (i, (class, words)) in legend.into_iter().enumerate() {
        let y = TOP + 18.0 + 20.0 * i as f64;
        let _ = writeln!(out, "<path class=\"{class}\" stroke-width=\"2\" d=\"M400,{y} 428,{y}\"/>");
        out += &text("text", "start", (436.0, y + 4.0), &words);
    }
    Ok(out + "</svg>\n")
}

/// The legend of the validation loss, with its final value.
fn validation(val: &[(f64, f64)]) -> String {
    let last = val.last().map_or(0.0, |point| point.1);
    format!("validation, the whole split: {last:.3} at the end")
}

#[cfg(test)]
mod tests {
    use super::{PICTURE, TABLE, column, number, picture, table};

    #[test]
    fn the_committed_picture_is_what_its_table_gives() {
        let read = |path| std::fs::read_to_string(crate::root().join(path)).expect(path);
        assert_eq!(picture(&read(TABLE)).as_deref(), Ok(read(PICTURE).as_str()), "run `cargo xtask pictures`");
    }

    #[test]
    fn numbers_are_read_from_a_line_of_json() {
        let line = r#"{"grad_norm":0.5,"loss":4.17,"step":1}"#;
        assert_eq!(
            (number(line, "loss"), number(line, "step"), number(line, "val_loss")),
            (Some(4.17), Some(1.0), None)
        );
        assert_eq!(number(r#"{"loss":null}"#, "loss"), None);
    }

    #[test]
    fn a_table_has_means_of_steps_and_every_evaluation() {
        let steps = (1..=40).map(|i| format!("{{\"loss\":{},\"step\":{i}}}\n", if i <= 20 { 4 } else { 3 }));
        let metrics = steps.collect::<String>() + "{\"step\":40,\"val_loss\":3.5}\n";
        let table = table(&metrics);
        assert_eq!(table, "step,train_loss,val_loss\n20,4.0000,\n40,3.0000,\n40,,3.5000\n");
        assert_eq!(column(&table, 2), Ok(vec![(40.0, 3.5)]));
        assert!(column("step,train_loss,val_loss\n", 1).is_err());
    }
}
