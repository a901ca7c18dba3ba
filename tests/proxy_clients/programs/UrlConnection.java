import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.PasswordAuthentication;
import java.net.URI;

/**
 * Sends a request to each URL with HttpURLConnection, which finds its proxy by itself.
 * Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
 */
public class UrlConnection {
    public static void main(String[] arguments) throws Exception {
        String key = System.getProperty("key");
        if (key != null) {
            Authenticator.setDefault(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication("any", key.toCharArray());
                }
            });
        }
        for (int at = 3; at < arguments.length; at++) {
            var url = URI.create(arguments[at]).toURL();
            var connection = (HttpURLConnection) url.openConnection();
            connection.setRequestMethod(arguments[0]);
            if (!arguments[2].equals("-")) {
                String[] header = arguments[2].split(": ");
                connection.setRequestProperty(header[0], header[1]);
            }
            if (!arguments[1].isEmpty()) {
                connection.setDoOutput(true);
                try (var body = connection.getOutputStream()) {
                    body.write(arguments[1].getBytes("UTF-8"));
                }
            }
            int status = connection.getResponseCode();
            String id = connection.getHeaderField("X-Dispatcher-Message-Id");
            System.out.println(status + " " + (id == null ? "" : id));
        }
    }
}
