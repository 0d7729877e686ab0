//! What all pictures are made of: shapes, texts, and colours for light and dark pages.

use std::fmt::Write as _;

/// A colour by its meaning. Each has one value for light and one for dark pages.
#[derive(Clone, Copy)]
pub enum Ink {
    /// Portcullis, or what is accepted.
    Blue,
    /// What is refused because of an outage.
    Orange,
    /// A second series.
    Green,
    /// A third series.
    Purple,
    /// What is compared with.
    Grey,
    /// Titles and labels.
    Text,
    /// Labels of less weight, and axes.
    Muted,
    /// Lines of a grid, and shaded spans.
    Faint,
    /// The page itself: texts on a strong colour.
    Page,
}

impl Ink {
    const ALL: [(Self, &'static str, &'static str, &'static str); 9] = [
        (Self::Blue, "b", "#2563a8", "#58a6ff"),
        (Self::Orange, "o", "#c2410c", "#f0883e"),
        (Self::Green, "g", "#1a7f37", "#3fb950"),
        (Self::Purple, "p", "#8250df", "#bc8cff"),
        (Self::Grey, "y", "#8c959f", "#768390"),
        (Self::Text, "t", "#1f2328", "#e6edf3"),
        (Self::Muted, "m", "#59636e", "#9198a1"),
        (Self::Faint, "f", "#e4e8ec", "#2a313a"),
        (Self::Page, "w", "#fff", "#0d1117"),
    ];

    fn letter(self) -> &'static str {
        let same = |other: &Self| *other as u8 == self as u8;
        Self::ALL.iter().find(|(ink, ..)| same(ink)).map_or("t", |(_, letter, ..)| letter)
    }
}

/// Where a text is anchored.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture in the making. Lengths are pixels from the upper left corner.
pub struct Picture {
    svg: String,
}

impl Picture {
    /// Begins a picture. `description` is for those who can't see it.
    pub fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"title desc\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <title id=\"title\">{title}</title>\n<desc id=\"desc\">{description}</desc>\n<style>\n"
        );
        for (_, letter, light, _) in Ink::ALL {
            let _ = write!(svg, ".f{letter}{{fill:{light}}}.s{letter}{{stroke:{light};fill:none}}");
        }
        svg.push_str("\n@media (prefers-color-scheme:dark){");
        for (_, letter, _, dark) in Ink::ALL {
            let _ = write!(svg, ".f{letter}{{fill:{dark}}}.s{letter}{{stroke:{dark};fill:none}}");
        }
        svg.push_str("}\n</style>\n<rect class=\"fw\" width=\"100%\" height=\"100%\"/>\n");
        let mut picture = Self { svg };
        picture.text(12.0, 22.0, Anchor::Start, Ink::Text, title);
        picture
    }

    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, ink: Ink, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = ink.letter();
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"f{class}\"{anchor}>{text}</text>"
        );
    }

    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, ink: Ink) {
        let class = ink.letter();
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"f{class}\"/>"
        );
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink) {
        self.path(&[from, to], ink, 1.0);
    }

    /// Draws straight lines from point to point.
    pub fn path(&mut self, points: &[(f64, f64)], ink: Ink, width: f64) {
        let class = ink.letter();
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.svg,
            "<polyline points=\"{}\" class=\"s{class}\" stroke-width=\"{width}\"/>",
            points.join(" ")
        );
    }

    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// Moves labels apart until no two are nearer than `gap`, and keeps their order.
pub fn spread_labels(places: &mut [(f64, usize)], gap: f64) {
    places.sort_by(|one, other| one.0.total_cmp(&other.0));
    for _ in 0..100 {
        for place in 1..places.len() {
            if let Some([.., (above, _), (below, _)]) = places.get_mut(..=place) {
                let overlap = gap - (*below - *above);
                if overlap > 0.0 {
                    *above -= overlap / 2.0;
                    *below += overlap / 2.0;
                }
            }
        }
    }
}
