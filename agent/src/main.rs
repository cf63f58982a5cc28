//! The `spanwire` command.
use spanwire::kernel::load::*;
use spanwire::kernel::events::Event;
fn main() {
    let hooks = match std::env::args().nth(1).as_deref() { Some("syscall") => vec![HookSet::Syscall], Some("trampoline")=>vec![HookSet::Trampoline], _ => vec![HookSet::Socket] };
    let t = std::time::Instant::now();
    let mut c = Capture::load(&Options{hooks, ring_buffer: 8<<20, max_connections: 65536, ports: vec![], watch: Watch::Everything}).unwrap_or_else(|e| { eprintln!("{e:?}\n{e}"); std::process::exit(1) });
    eprintln!("ready {} {:?}", c.hook_set(), t.elapsed());
    let mut r = c.events().unwrap();
    let n = std::time::Instant::now();
    while n.elapsed().as_secs() < 6 {
        while let Some(i) = r.next() { let e = Event::parse(&i); match e { Some(Event::Bytes{data, origin, starts, ends, request, ..}) => println!("{} pid {} {:?} pos {} seq {} req {request} {starts:?} {:?} {ends:?}", origin.time, origin.pid, origin.direction, origin.position, origin.sequence, String::from_utf8_lossy(data)), Some(Event::Exec{..}|Event::Exit{..}) => {}, e => println!("{e:?}") } }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for (c, v) in c.counters().unwrap() { if v != 0 { println!("{} {v}", c.name()); } }
}
