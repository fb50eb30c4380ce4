package testbed

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Request is one request that the API server has answered or, for a watch, begun to answer.
type Request struct {
	// User is who asked, for example "system:serviceaccount:flux-system:flux-operator".
	User string
	// Agent is the program's own description of itself.
	Agent string
	// Verb is the Kubernetes verb, for example "patch" or "watch".
	Verb string
	// URI is the path with its query.
	URI string
	// Code is the HTTP status of the answer.
	Code int
	// Received is when the request arrived.
	Received time.Time
}

// auditEvent is a line of the audit log.
type auditEvent struct {
	AuditID    string `json:"auditID"` //nolint:tagliatelle // the API server's own spelling
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"` //nolint:tagliatelle // the API server's own spelling
	UserAgent  string `json:"userAgent"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
}

// auditLine is far above the longest line at metadata level.
const auditLine = 1 << 20

// Requests returns the requests of an audit log that arrived at since or later, each once, in the order of their answers.
// A line that is being written is left out.
func Requests(path string, since time.Time) ([]Request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading audit log: %w", err)
	}
	defer file.Close()
	return parseAudit(file, since)
}

func parseAudit(from io.Reader, since time.Time) ([]Request, error) {
	var requests []Request
	seen := map[string]bool{}
	lines := bufio.NewReaderSize(from, auditLine)
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return requests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading audit log: %w", err)
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("parsing audit log: %w", err)
		}
		// A watch is logged when it begins and when it ends.
		if seen[e.AuditID] || e.RequestReceivedTimestamp.Before(since) {
			continue
		}
		seen[e.AuditID] = true
		requests = append(requests, Request{
			User: e.User.Username, Agent: e.UserAgent, Verb: e.Verb, URI: e.RequestURI,
			Code: e.ResponseStatus.Code, Received: e.RequestReceivedTimestamp,
		})
	}
}
