//! Which of the two text formats a scraper takes, and how one is made from the other.

use std::fmt::Write;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus's own, version 0.0.4: what everything reads.
    Plain,
}

impl MetricsFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::OpenMetrics, Self::Plain];

    /// Its Content-Type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What is best by the Accept fields of a request (RFC 9110 section 12.5.1). Who names
    /// neither, or the plain one as gladly, gets that.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut open, mut plain) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range
                .split(';')
                .map(|part| part.trim().to_ascii_lowercase());
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<String> = parts.collect();
            let parameter = |name: &str| {
                let mut values = parameters.iter().filter_map(|part| part.split_once('='));
                let (_, value) = values.find(|(known, _)| known.trim() == name)?;
                Some(value.trim().trim_matches('"'))
            };
            let quality = parameter("q").map_or(1_000, thousandths);
            let version = parameter("version");
            match kind.as_str() {
                "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                    open = quality.max(open);
                }
                "text/plain" if version.is_none_or(|v| v == "0.0.4") => plain = quality.max(plain),
                _ => {}
            }
        }
        if open > plain {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }
}

/// A quality value (RFC 9110 section 12.4.2); 0 for what is none.
fn thousandths(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = format!("{fraction:0<3}").chars().take(3).collect();
    match (whole, digits.parse::<u32>()) {
        ("1", Ok(_)) => 1_000,
        ("0", Ok(fraction)) => fraction,
        _ => 0,
    }
}

/// A text of OpenMetrics in the older format: there the type of a counter and of an
/// information stands by the whole name, and nothing says where the text ends.
#[must_use]
pub fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|typed| typed.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            let help = help.take().unwrap_or_default();
            // Writing to memory does not fail.
            let _ = write!(
                text,
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
            );
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{MetricsFormat, plain};

    #[test]
    fn a_scraper_gets_what_it_likes_best_and_everybody_else_the_plain_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (prometheus, MetricsFormat::OpenMetrics),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.001",
                MetricsFormat::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text",
                MetricsFormat::Plain,
            ),
            (
                "text/plain;q=0.2, application/openmetrics-text;q=0.1",
                MetricsFormat::Plain,
            ),
            ("application/openmetrics-text;q=0", MetricsFormat::Plain),
            ("application/openmetrics-text;q=much", MetricsFormat::Plain),
            (
                "application/openmetrics-text;version=2.0.0",
                MetricsFormat::Plain,
            ),
            (
                "text/plain;version=1.0.0, application/openmetrics-text;q=0.1",
                MetricsFormat::OpenMetrics,
            ),
            ("*/*", MetricsFormat::Plain),
            ("text/html", MetricsFormat::Plain),
            ("", MetricsFormat::Plain),
        ] {
            assert_eq!(MetricsFormat::wanted(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn the_plain_format_has_the_same_series_and_the_whole_name_of_each() {
        let open = "# HELP a_b Of it\n# TYPE a_b counter\na_b_total{c=\"# d\"} 1\n\
                    # HELP e F\n# TYPE e gauge\ne 2\n\
                    # HELP g H\n# TYPE g info\ng_info{i=\"j\"} 1\n# EOF\n";
        assert_eq!(
            plain(open),
            "# HELP a_b_total Of it\n# TYPE a_b_total counter\na_b_total{c=\"# d\"} 1\n\
             # HELP e F\n# TYPE e gauge\ne 2\n\
             # HELP g_info H\n# TYPE g_info gauge\ng_info{i=\"j\"} 1\n"
        );
    }
}
