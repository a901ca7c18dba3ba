import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

/**
 * Sends a request to each URL with java.net.http, which finds its proxy by itself.
 * Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
 */
public class NewClient {
    public static void main(String[] arguments) throws Exception {
        var builder = HttpClient.newBuilder();
        String key = System.getProperty("key");
        if (key != null) {
            builder.authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication("any", key.toCharArray());
                }
            });
        }
        var client = builder.build();
        for (int at = 3; at < arguments.length; at++) {
            var body = arguments[1].isEmpty()
                ? BodyPublishers.noBody()
                : BodyPublishers.ofString(arguments[1]);
            var request = HttpRequest.newBuilder(URI.create(arguments[at]))
                .method(arguments[0], body);
            if (!arguments[2].equals("-")) {
                request.header(arguments[2].split(": ")[0], arguments[2].split(": ")[1]);
            }
            var response = client.send(request.build(), BodyHandlers.discarding());
            var id = response.headers().firstValue("X-Dispatcher-Message-Id").orElse("");
            System.out.println(response.statusCode() + " " + id);
        }
    }
}
