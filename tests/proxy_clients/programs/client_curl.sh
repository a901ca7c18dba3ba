# Sends a request to each URL with curl, which finds its proxy by itself; all with one connection.
# Arguments: curl, method, body, header or "-", URLs. Prints a line for each: status and message id.
curl=$1 method=$2 body=$3 header=$4
shift 4
options=(--request "$method" --write-out '%{http_code} %header{x-dispatcher-message-id}\n')
[ -z "$body" ] || options+=(--data "$body")
[ "$header" = - ] || options+=(--header "$header")
for url in "$@"; do
    options+=(--output /dev/null "$url")
done
exec "$curl" --disable --silent --show-error "${options[@]}"
