import java.io.File;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;

/**
 * Dubbo's own protocol. `Echo serve PORT` gives all content back; `Echo call ADDRESS COUNT CONNECTIONS [GO]` does as
 * `client.py` does.
 */
public class Echo {
    public interface Service {
        byte[] echo(byte[] content);
    }

    static final int WARM = 20;

    public static void main(String[] arguments) throws Exception {
        ApplicationConfig application = new ApplicationConfig("echo");
        application.setQosEnable(false);
        if (arguments[0].equals("serve")) {
            serve(application, Integer.parseInt(arguments[1]));
        } else {
            call(application, arguments);
        }
    }

    static void serve(ApplicationConfig application, int port) throws Exception {
        ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
        protocol.setHost("127.0.0.1");
        ServiceConfig<Service> service = new ServiceConfig<>();
        service.setApplication(application);
        service.setRegistry(new RegistryConfig(RegistryConfig.NO_AVAILABLE));
        service.setProtocol(protocol);
        service.setInterface(Service.class);
        service.setRef(content -> content);
        service.export();
        Thread.currentThread().join();
    }

    static void call(ApplicationConfig application, String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[2]);
        int connections = Integer.parseInt(arguments[3]);
        File go = arguments.length > 4 ? new File(arguments[4]) : null;
        CyclicBarrier warm = new CyclicBarrier(connections, () -> System.out.println("warm"));
        for (int part = 0; part < connections; part++) {
            ReferenceConfig<Service> reference = new ReferenceConfig<>();
            reference.setApplication(application);
            reference.setInterface(Service.class);
            reference.setUrl("dubbo://" + arguments[1]);
            // One of its own.
            reference.setConnections(1);
            reference.setTimeout(30_000);
            Service service = reference.get();
            Thread thread = new Thread(() -> {
                try {
                    work(service, count, go, warm);
                } catch (Exception error) {
                    error.printStackTrace();
                    System.exit(1);
                }
            });
            thread.setDaemon(false);
            thread.start();
        }
    }

    static void work(Service service, int count, File go, CyclicBarrier warm) throws Exception {
        int n = 0;
        while (go != null && !go.exists()) {
            request(service, n++);
            if (n == WARM) {
                warm.await();
            }
            if (n > WARM) {
                Thread.sleep(5);
            }
        }
        for (int end = n + count; n < end; n++) {
            request(service, n);
        }
    }

    static void request(Service service, int n) {
        byte[] content = new byte[n % 100 == 99 ? 100_000 : n * 37 % 2000];
        new Random(n).nextBytes(content);
        if (!Arrays.equals(service.echo(content), content)) {
            throw new IllegalStateException("other content came back");
        }
    }
}
