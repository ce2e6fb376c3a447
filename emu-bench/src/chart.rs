//! Pictures as SVG: bars of ratios, and curves.

use std::fmt::Write as _;

use crate::guest::Guest;
use crate::report::Report;

/// Colours that can be told apart, also in grey.
const COLOURS: [&str; 6] = ["#9aa5b1", "#e0a030", "#1f6fb2", "#6b3fa0", "#c0392b", "#2e8b57"];
const LEFT: f64 = 130.0;
const WIDTH: f64 = 900.0;
const BAR: f64 = 9.0;
const TOP: f64 = 48.0;

/// Text as it may stand in the file.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn open(text: &mut String, width: f64, height: f64, title: &str) {
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">{}</text>",
        escape(title)
    );
}

fn legend(text: &mut String, names: &[&str], x: f64, y: f64) {
    for (n, name) in names.iter().enumerate() {
        let (x, colour) = (x + 90.0 * n as f64, COLOURS[n % COLOURS.len()]);
        let _ = writeln!(
            text,
            "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{y:.0}\">{}</text>",
            y - 9.0,
            x + 14.0,
            escape(name)
        );
    }
}

/// One guest's workloads: how many times as long as the host each engine takes. The scale is logarithmic. `None` when
/// the host itself was not measured.
pub fn bars(report: &Report, guest: Guest) -> Option<String> {
    let engines: Vec<&str> = report.engines().into_iter().filter(|name| *name != "native").collect();
    let mut rows = Vec::new();
    for result in report.results.iter().filter(|result| result.guest == guest) {
        let ratios: Vec<Option<f64>> =
            engines.iter().map(|engine| result.ratio(engine, "native", report.clock)).collect();
        if ratios.iter().any(Option::is_some) {
            rows.push((result.workload.as_str(), ratios));
        }
    }
    let most = rows.iter().flat_map(|(_, ratios)| ratios).flatten().fold(1.0f64, |a, &b| a.max(b));
    if rows.is_empty() {
        return None;
    }
    let decades = most.log10().ceil().max(1.0);
    // From a third of the host's time, as a translator may be faster than the host.
    let x = |ratio: f64| {
        LEFT + (ratio.max(1.0 / 3.0) * 3.0).log10() / (decades + 3f64.log10()) * (WIDTH - LEFT - 60.0)
    };
    let row = BAR * engines.len() as f64 + 8.0;
    let height = TOP + row * rows.len() as f64 + 24.0;
    let mut text = String::new();
    open(&mut text, WIDTH, height, &format!("{}: times as long as on the host (logarithmic)", guest.name()));
    legend(&mut text, &engines, LEFT, 36.0);
    for decade in 0..=decades as i32 {
        let at = x(10f64.powi(decade));
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.0}\" stroke=\"#ccc\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            height - 20.0,
            height - 6.0,
            10f64.powi(decade)
        );
    }
    for (n, (name, ratios)) in rows.iter().enumerate() {
        let y = TOP + row * n as f64 + 4.0;
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + row / 2.0,
            escape(name)
        );
        for (k, ratio) in ratios.iter().enumerate() {
            let Some(ratio) = ratio else { continue };
            let (from, y) = (x(1.0).min(x(*ratio)), y + BAR * k as f64);
            let _ = writeln!(
                text,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\">{ratio:.1}</text>",
                (x(*ratio) - x(1.0)).abs().max(1.0),
                BAR - 1.0,
                COLOURS[k % COLOURS.len()],
                x(*ratio).max(x(1.0)) + 3.0,
                y + BAR - 2.0
            );
        }
    }
    text += "</svg>\n";
    Some(text)
}

/// A line in a plot: its name, and its points.
pub type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Curves over one variable; both axes start at zero, or are logarithmic. Empty lines are left out.
pub fn curves(title: &str, across: &str, up: &str, logarithmic: bool, lines: &[Line]) -> String {
    let (width, height, bottom, right) = (520.0, 320.0, 42.0, 16.0);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let scale = |value: f64| if logarithmic { value.max(1e-12).log10() } else { value };
    let bounds = |pick: fn(&(f64, f64)) -> f64| {
        let values = points().map(|point| scale(pick(point)));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let low = if logarithmic { low.floor() } else { 0.0 };
        (low, if high > low { if logarithmic { high.ceil() } else { high * 1.05 } } else { low + 1.0 })
    };
    let ((x0, x1), (y0, y1)) = (bounds(|point| point.0), bounds(|point| point.1));
    let x = |value: f64| 60.0 + (scale(value) - x0) / (x1 - x0) * (width - 60.0 - right);
    let y = |value: f64| height - bottom - (scale(value) - y0) / (y1 - y0) * (height - bottom - TOP);
    let mut text = String::new();
    open(&mut text, width, height, title);
    legend(&mut text, &lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), 60.0, 36.0);
    let ticks = |low: f64, high: f64| -> Vec<f64> {
        if logarithmic {
            (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect()
        } else {
            let step = 10f64.powf((high / 4.0).log10().floor());
            let step = if high / step > 12.0 {
                step * 5.0
            } else if high / step > 6.0 {
                step * 2.0
            } else {
                step
            };
            (0..=(high / step) as i32).map(|n| f64::from(n) * step).collect()
        }
    };
    for value in ticks(x0, x1) {
        let at = x(value);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.0}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{value}</text>",
            height - bottom,
            height - bottom + 14.0
        );
    }
    for value in ticks(y0, y1) {
        let at = y(value);
        let _ = writeln!(
            text,
            "<line x1=\"60\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"56\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            width - right,
            at + 4.0,
            (value * 1e6).round() / 1e6
        );
    }
    for (n, (_, points)) in lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (a, b) in points {
            let _ =
                writeln!(text, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b));
        }
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
         <text x=\"14\" y=\"{:.0}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:.0})\">{}</text>\n</svg>",
        f64::midpoint(60.0, width - right),
        height - 8.0,
        escape(across),
        height / 2.0,
        height / 2.0,
        escape(up)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_holds_each_point_once_and_escapes_names() {
        let text = curves("a < b", "x", "y", false, &[("one", vec![(1.0, 2.0), (2.0, 4.0)])]);
        assert!(text.contains("a &lt; b"));
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(!text.contains("NaN"));
    }
}
