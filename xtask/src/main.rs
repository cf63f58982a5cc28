//! Set-up, tests, benches and checks of the workspace.
fn main() {}
