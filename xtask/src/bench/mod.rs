//! stub
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn command(_: &Arguments) -> anyhow::Result<()> {
    Ok(())
}
