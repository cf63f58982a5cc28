//! What the programs in the kernel write for `--kernel-log`, with names in place of numbers.

use log::{Log, Metadata, Record};
use spanwire_ebpf::Counter;

/// Hands on to the process's logger.
#[derive(Debug)]
pub(super) struct Diagnostics;

/// What a counter's number stands behind (agent-ebpf/src/log.rs).
const COUNTER: &str = "counter ";

impl Log for Diagnostics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        log::logger().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let text = named(&record.args().to_string());
        log::logger().log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .module_path(record.module_path())
                .args(format_args!("kernel: {text}"))
                .build(),
        );
    }

    fn flush(&self) {
        log::logger().flush();
    }
}

/// The message with its counter's name.
fn named(text: &str) -> String {
    let counter = text.rsplit_once(COUNTER).and_then(|(before, number)| {
        let counter = Counter::from_number(number.parse().ok()?)?;
        Some(format!("{before}{}", counter.name()))
    });
    counter.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_names() {
        let number = Counter::GapUnseen as u32;
        let text = named(&format!(
            "sock ff: lost at position 1, for 2 bytes, counter {number}"
        ));
        assert_eq!(
            text,
            "sock ff: lost at position 1, for 2 bytes, kernel.gap.unseen"
        );
        for text in ["sock ff: followed; family 2, late 0", "counter 4000", "counter x"] {
            assert_eq!(named(text), text);
        }
    }
}
