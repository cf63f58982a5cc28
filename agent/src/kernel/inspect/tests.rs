use super::*;
#[test]
fn tmp_print() {
    let context = Context::new();
    for check in table::CHECKS {
        let t = std::time::Instant::now();
        check.run(&context);
        let t = t.elapsed();
        if t.as_millis() > 5 { eprintln!("{} {:?}", check.id, t); }
    }
    let options = Options { hook_sets: vec![("socket".into(), Ok(())), ("trampoline".into(), Err("fentry refused".into()))] };
    let t = std::time::Instant::now();
    let r = report(&options);
    eprintln!("{:?}", t.elapsed());
    r.write_text(&mut std::io::stderr(), false).unwrap();
}
