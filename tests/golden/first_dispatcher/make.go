// Made the two files beside it, with Go 1.19: go run make.go. They have the format of the first
// Dispatcher's files; the type has its fields in its order.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"os"
)

type MessageRecord struct {
	ID             uint64
	RetryCount     int
	RetryTimestamp int64
	Url            string
	Method         string
	Header         map[string][]string
	Body           []byte
	Timeout        int
	Error          string
}

var log bytes.Buffer
var next uint64

func enc(m MessageRecord) []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func put(kind byte, payload []byte) {
	next++
	log.Write(payload)
	binary.Write(&log, binary.LittleEndian, next)
	log.WriteByte(kind)
	binary.Write(&log, binary.LittleEndian, uint32(len(payload)))
}

func back(a, b uint32) []byte {
	var buf bytes.Buffer
	binary.Write(&buf, binary.LittleEndian, a)
	binary.Write(&buf, binary.LittleEndian, b)
	return buf.Bytes()
}

func main() {
	body := make([]byte, 300)
	for i := range body {
		body[i] = byte(i)
	}
	one := MessageRecord{Url: "localhost:9000/orders?id=1", Method: "POST", Header: map[string][]string{"Content-Type": {"application/json"}}, Body: []byte(`{"id":1}`), Timeout: 2500}
	two := MessageRecord{Url: "https://example.test/a%2Fb", Method: "PUT", Header: map[string][]string{"X-Two": {"a", "b"}, "X-Empty": {""}}, Body: body}
	three := MessageRecord{Url: "http://[::1]:81/", Method: "GET", Header: map[string][]string{}}
	put(1, enc(one))                                     // 1
	put(1, enc(two))                                     // 2
	put(2, back(2, 1))                                   // 3: ends one
	put(1, enc(three))                                   // 4
	two.ID, two.RetryCount, two.RetryTimestamp, two.Error = 2, 1, 1700000000, "Put \"https://example.test/a%2Fb\": timeout"
	put(3, append(enc(two), back(3, 3)...))              // 5: two again
	four := MessageRecord{Url: "localhost:9000/x", Method: "DELETE"}
	put(1, enc(four))                                    // 6
	put(2, back(1, 4))                                   // 7: ends four
	os.WriteFile("transaction.log", log.Bytes(), 0o644)
	var dead bytes.Buffer
	for _, m := range []MessageRecord{{ID: 9, RetryCount: 10, RetryTimestamp: -1, Url: "localhost:9000/dead", Method: "POST", Header: map[string][]string{"A": {"1"}}, Body: []byte("first"), Error: "500 Internal Server Error"}, {ID: 1 << 60, RetryCount: 3, Url: "localhost:9001/", Method: "PATCH", Body: []byte("second"), Timeout: 100}} {
		g := enc(m)
		dead.Write(g)
		binary.Write(&dead, binary.LittleEndian, uint32(len(g)))
	}
	os.WriteFile("deadletter.log", dead.Bytes(), 0o644)
}
