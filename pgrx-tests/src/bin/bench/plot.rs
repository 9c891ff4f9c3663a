//! The ratios as a picture: one bar a figure that has a reference, on a logarithmic scale, with the
//! bar that is to be reached as a line across. Draws what `report` has; measures nothing.

use std::fmt::Write as _;

use crate::report::Figure;

/// Pixels.
const LABELS: f64 = 560.0;
const SCALE: f64 = 420.0;
const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
/// The scale reaches from a hundredth to a hundred.
const DECADES: f64 = 2.0;

/// An SVG document; None where no figure has a reference.
pub fn svg(title: &str, figures: &[Figure]) -> Option<String> {
    let drawn: Vec<(&Figure, f64)> =
        figures.iter().filter_map(|figure| Some((figure, figure.ratio()?))).collect();
    if drawn.is_empty() {
        return None;
    }
    let (width, height) = (LABELS + SCALE + 90.0, TOP + ROW * drawn.len() as f64 + 16.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for power in -2..=2 {
        let x = place(10_f64.powi(power));
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            TOP - 6.0,
            10_f64.powi(power)
        );
    }
    for (row, (figure, ratio)) in drawn.into_iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let (one, end) = (place(1.0), place(ratio));
        let colour = if figure.reached() == Some(false) { "#c0392b" } else { "#2d6a9f" };
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
            LABELS - 8.0,
            y + 15.0,
            escaped(&figure.name()),
            one.min(end),
            y + 4.0,
            (one - end).abs().max(1.0),
            ROW - 8.0,
            one.max(end) + 5.0,
            y + 15.0,
        );
        if let Some(limit) = figure.ratio_bar() {
            let x = place(limit);
            let _ = writeln!(
                text,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"black\" stroke-width=\"2\"/>",
                y + 1.0,
                y + ROW - 1.0
            );
        }
    }
    text.push_str("</svg>\n");
    Some(text)
}

/// Where a ratio lies on the picture.
fn place(ratio: f64) -> f64 {
    let power = ratio.max(f64::MIN_POSITIVE).log10().clamp(-DECADES, DECADES);
    LABELS + SCALE * (power + DECADES) / (2.0 * DECADES)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Bar;

    #[test]
    fn figures_with_a_reference_are_drawn() {
        let alone = Figure::new("memory", "a < b", "MB", vec![1.0]);
        assert_eq!(svg("nothing", std::slice::from_ref(&alone)), None);
        let missed = alone.clone().beside(vec![0.5]).bar(Bar::RatioAtMost(1.5));
        let text = svg("machine & load", &[missed, alone]).expect("one figure has a reference");
        assert!(text.contains("machine &amp; load") && text.contains("memory: a &lt; b"), "{text}");
        assert_eq!(text.matches("<rect x=").count(), 1, "{text}");
        assert!(text.contains("#c0392b") && text.contains(">2.00<"), "{text}");
    }

    #[test]
    fn ratios_lie_between_the_ends_of_the_scale() {
        assert!((place(1.0) - (LABELS + SCALE / 2.0)).abs() < 1e-9);
        assert!((place(0.0) - LABELS).abs() < 1e-9 && (place(1e9) - (LABELS + SCALE)).abs() < 1e-9);
    }
}
