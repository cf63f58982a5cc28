//! Command lines as people write them.

use super::super::fake::Folder;
use super::*;
use std::fs::File;

/// Files that there are, below the working directory /srv/blog or elsewhere.
fn folder() -> Folder {
    let folder = Folder::new();
    for path in [
        "srv/blog/app.py",
        "srv/blog/manage.py",
        "srv/blog/run",
        "srv/blog/bin/tool",
        "usr/local/bin/gunicorn",
        "usr/local/bin/uvicorn",
        "usr/local/bin/flask",
        "usr/local/bin/celery",
        "usr/local/bin/airflow",
        "srv/blog/plain/index.js",
        "usr/bin/puma",
        "srv/blog/artisan",
        "srv/blog/zipped/__main__.py",
    ] {
        folder.write(path, "");
    }
    folder.write("srv/shop/package.json", r#"{"name":"@acme/shop"}"#);
    folder.write("srv/shop/dist/package.json", r#"{"type":"module"}"#);
    folder.write("srv/shop/dist/server.js", "");
    folder.write("srv/shop/node_modules/next/package.json", r#"{"name":"next"}"#);
    folder.write("srv/shop/node_modules/next/dist/bin/next", "");
    folder.write("usr/lib/node_modules/npm/package.json", r#"{"name":"npm"}"#);
    folder.write("usr/lib/node_modules/npm/bin/npm-cli.js", "");
    folder
}

fn infer_in(directory: &str, executable: &str, arguments: &[&str]) -> Option<String> {
    let folder = folder();
    let root = Root::new(File::open(folder.path("")).unwrap());
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    infer(&Invocation {
        executable,
        family: Family::of(executable),
        arguments: &arguments,
        directory: Some(Path::new(directory)),
        root: Some(&root),
    })
}

/// `line` is split at spaces.
fn check(executable: &str, line: &str, expect: Option<&str>) {
    let arguments: Vec<&str> = line.split(' ').collect();
    assert_eq!(
        infer_in("/srv/blog", executable, &arguments).as_deref(),
        expect,
        "{line}"
    );
}

fn check_title(executable: &str, title: &str, expect: Option<&str>) {
    assert_eq!(
        infer_in("/srv/blog", executable, &[title]).as_deref(),
        expect,
        "{title}"
    );
}

#[test]
fn python() {
    let python = "python3.11";
    check(python, "python app.py", Some("app"));
    check(
        python,
        "python -u -X dev -W ignore /srv/blog/app.py --token hunter2",
        Some("app"),
    );
    check(python, "python ./bin/../app.py", Some("app"));
    check(python, "python run", Some("run"));
    check(python, "python gone.py", Some("gone"));
    check(python, "python gone", None);
    check(python, "python manage.py runserver 0:8000", Some("blog"));
    check(python, "python zipped/__main__.py", Some("zipped"));
    check(python, "python -m http.server 8000", Some("http.server"));
    check(python, "python -um shop.worker", Some("shop.worker"));
    check(python, "python -mshop", Some("shop"));
    check(python, "python -c print('hunter2')", None);
    check(python, "python -Ic print('hunter2')", None);
    check(python, "python", None);
    check(python, "python -", None);
    check(python, "python -m", None);
    check(
        python,
        "/usr/bin/python3 /usr/local/bin/airflow webserver",
        Some("airflow"),
    );
}

#[test]
fn python_application_servers() {
    let python = "python3.11";
    let gunicorn = "/usr/bin/python3 /usr/local/bin/gunicorn";
    check(python, &format!("{gunicorn} blog.wsgi:application"), Some("blog"));
    check(
        python,
        &format!("{gunicorn} -w 4 -b localhost:8000 -k uvicorn.workers.UvicornWorker shop.api:app"),
        Some("shop.api"),
    );
    check(
        python,
        &format!("{gunicorn} --env token:hunter2 --reload cart:app"),
        Some("cart"),
    );
    check(
        python,
        &format!("{gunicorn} -b 0.0.0.0:8000 --reload cart:app"),
        Some("cart"),
    );
    check(python, &format!("{gunicorn} -c conf.py"), Some("blog"));
    check(python, gunicorn, Some("blog"));
    check(python, "python -m uvicorn main:app --port 8000", Some("main"));
    check(
        python,
        "/usr/bin/python3 /usr/local/bin/uvicorn app.main:app",
        Some("app"),
    );
    check(
        python,
        "/usr/bin/python3 /usr/local/bin/flask --app hello:create_app() run",
        Some("hello"),
    );
    check(
        python,
        "/usr/bin/python3 /usr/local/bin/flask --app=src/pages.py run",
        Some("pages"),
    );
    check(python, "/usr/bin/python3 /usr/local/bin/flask run", Some("blog"));
    check(
        python,
        "/usr/bin/python3 /usr/local/bin/celery -A proj worker -l INFO",
        Some("proj"),
    );
}

#[test]
fn titles_that_programs_give_themselves() {
    check_title(
        "python3.11",
        "gunicorn: worker [blog.wsgi:application]",
        Some("blog"),
    );
    check_title("python3.11", "celeryd: worker running (hunter2)", Some("celeryd"));
    check_title("ruby3.1", "puma 6.4.0 (tcp://0.0.0.0:3000) [shop]", Some("shop"));
    check_title("ruby3.1", "sidekiq 7.1 shop [0 of 5 busy]", Some("sidekiq"));
    check_title("node", "node /srv/shop/dist/server.js", Some("@acme/shop"));
    check_title("node", "next-server (v14.1.0)", Some("next-server"));
    check_title("nginx", "nginx: worker process", Some("nginx"));
    check_title(
        "postgres",
        "postgres: me shop 127.0.0.1(5000) idle",
        Some("postgres"),
    );
    check_title("redis-server", "redis-server *:6379", Some("redis-server"));
}

#[test]
fn node() {
    check("node", "node /srv/shop/dist/server.js", Some("@acme/shop"));
    check(
        "node",
        "node --require ./hunter2 --max-old-space-size=99 ../shop/dist/server.js x",
        Some("@acme/shop"),
    );
    check(
        "node",
        "node --unknown-option hunter2 /srv/shop/dist/server.js",
        Some("@acme/shop"),
    );
    check(
        "node",
        "node /srv/shop/node_modules/next/dist/bin/next start",
        Some("@acme/shop"),
    );
    check(
        "node",
        "node /usr/lib/node_modules/npm/bin/npm-cli.js start",
        Some("npm"),
    );
    check("node", "node plain/index.js", Some("plain"));
    check("node", "node gone.mjs", Some("gone"));
    check("node", "node -e console.log('hunter2')", None);
    check("node", "node hunter2", None);
    check("node", "node", None);
    check("bun", "bun run /srv/shop/dist/server.js", Some("@acme/shop"));
    check("deno", "deno run -A --allow-net=hunter2 main.ts", Some("main"));
}

#[test]
fn java() {
    let java = "java";
    check(
        java,
        "java -Xmx1g -Dpassword=hunter2 -jar /opt/orders-1.2.3-SNAPSHOT.jar --token hunter2",
        Some("orders"),
    );
    check(java, "java -jar app.jar", Some("app"));
    check(
        java,
        "java -cp a.jar:b.jar com.example.orders.OrdersApplication hunter2",
        Some("OrdersApplication"),
    );
    check(java, "java -classpath x com.example.orders.Main", Some("orders"));
    check(
        java,
        "java --add-opens java.base/java.lang=ALL-UNNAMED -p mods -m shop.cart/shop.cart.Main",
        Some("shop.cart"),
    );
    check(
        java,
        "java -Dspring.application.name=cart -jar x-1.jar",
        Some("cart"),
    );
    check(
        java,
        "java -Dx=y org.apache.catalina.startup.Bootstrap start",
        Some("tomcat"),
    );
    check(
        java,
        "java org.springframework.boot.loader.launch.JarLauncher",
        None,
    );
    check(java, "java Main", Some("Main"));
    check(java, "java @args Server.java", Some("Server"));
    check(java, "java -version", None);
    check(java, "java -jar", None);
    check(java, "java -jar -1.jar", Some("-1"));
}

#[test]
fn others() {
    check("ruby3.1", "ruby -r bundler/setup app.rb", Some("app"));
    check("ruby3.1", "ruby /usr/bin/puma -C config/puma.rb", Some("blog"));
    check("php8.2", "php artisan serve", Some("blog"));
    check("php8.2", "php -S localhost:8000 -t public", Some("blog"));
    check("php8.2", "php -r echo('hunter2');", None);
    check("perl", "perl -w daemon.pl", Some("daemon"));
    check(
        "dotnet",
        "dotnet /app/Shop.Api.dll --urls http://+:80",
        Some("Shop.Api"),
    );
    check("dotnet", "dotnet --info", None);
    check(
        "beam.smp",
        "/usr/lib/erlang/bin/beam.smp -W w -- -root /x -sname rabbit@box -setcookie hunter2",
        Some("rabbit"),
    );
    check("beam.smp", "beam.smp -setcookie hunter2", None);
    check("bash", "bash ./run", Some("run"));
    check("dash", "sh -c curl -H token:hunter2", None);
    check("busybox", "/usr/sbin/httpd -f", Some("httpd"));
    check(
        "shop-server",
        "./shop-server --token hunter2",
        Some("shop-server"),
    );
}

#[test]
fn releases_are_named_after_what_was_released() {
    let puma = &["ruby", "/usr/bin/puma"];
    assert_eq!(
        infer_in("/srv/shop/releases/20260102030405", "ruby3.1", puma).as_deref(),
        Some("shop")
    );
    assert_eq!(
        infer_in("/srv/shop/current", "ruby3.1", puma).as_deref(),
        Some("shop")
    );
    assert_eq!(infer_in("/", "ruby3.1", puma).as_deref(), Some("puma"));
}

#[test]
fn what_cannot_be_a_name_is_none() {
    let long = format!("{}.py", "x".repeat(200));
    check("python3", &format!("python {long}"), None);
    assert_eq!(infer_in("/", "python3", &["python", "a\nb.py"]), None);
    assert_eq!(infer_in("/", "python3", &[]), None);
}

#[test]
fn without_a_root_only_what_looks_like_a_script_is_one() {
    let arguments = ["python", "hunter2", "app.py"].map(str::to_owned);
    let invocation = Invocation {
        executable: "python3",
        family: Family::Python,
        arguments: &arguments,
        directory: None,
        root: None,
    };
    assert_eq!(infer(&invocation).as_deref(), Some("app"));
}

proptest::proptest! {
    #[test]
    fn no_command_line_panics(
        executable in "(python3|node|java|ruby|php|perl|bash|dotnet|beam.smp|busybox|x)",
        arguments in proptest::collection::vec("[-A-Za-z.:/@=\\[\\] é0-9]{0,12}", 0..6),
        directory in proptest::option::of("(/[a-z0-9]{0,3}){0,3}"),
    ) {
        let _ = infer(&Invocation {
            executable: &executable,
            family: Family::of(&executable),
            arguments: &arguments,
            directory: directory.as_deref().map(Path::new),
            root: None,
        });
    }
}
