//! spanwire in a real cluster.
use anyhow::Result;
use spanwire_tests::cluster::Cluster;

#[test]
fn smoke() -> Result<()> {
    let t = std::time::Instant::now();
    let cluster = Cluster::start(&[])?;
    eprintln!("started {:?}", t.elapsed());
    eprintln!("{}", cluster.ask(&["get", "pods,nodes", "-A", "-o", "wide"])?);
    drop(cluster);
    eprintln!("gone {:?}", t.elapsed());
    Ok(())
}
