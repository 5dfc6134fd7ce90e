import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

/** A web service whose sessions are in memory alone: tells its process, and how often the session has come. */
public class Sessions {
  public static void main(String[] arguments) throws Exception {
    UUID started = UUID.randomUUID();
    Map<String, Integer> sessions = new ConcurrentHashMap<>();
    HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
    server.setExecutor(Executors.newFixedThreadPool(4));
    server.createContext("/", exchange -> {
      String cookie = exchange.getRequestHeaders().getFirst("Cookie");
      String session = cookie != null ? cookie : "session=" + UUID.randomUUID();
      byte[] answer = (started + " " + sessions.merge(session, 1, Integer::sum)).getBytes();
      exchange.getResponseHeaders().set("Set-Cookie", session);
      exchange.sendResponseHeaders(200, answer.length);
      exchange.getResponseBody().write(answer);
      exchange.close();
    });
    server.start();
  }
}
