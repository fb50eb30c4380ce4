package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// etcdBatch is within what etcd takes in one transaction.
const etcdBatch = 100

// etcd is the store of an API server, asked over its JSON gateway.
type etcd struct{ url string }

// pair is a key with its value.
type pair struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// read returns what is stored under a key.
func (e etcd) read(ctx context.Context, key string) ([]byte, error) {
	var answer struct {
		Pairs []pair `json:"kvs"`
	}
	if err := e.ask(ctx, "/v3/kv/range", map[string][]byte{"key": []byte(key)}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Pairs) != 1 {
		return nil, fmt.Errorf("reading %q from etcd: there are %d", key, len(answer.Pairs))
	}
	return answer.Pairs[0].Value, nil
}

// write stores pairs in one transaction.
func (e etcd) write(ctx context.Context, pairs []pair) error {
	type put struct {
		Put pair `json:"requestPut"`
	}
	var puts []put
	for _, p := range pairs {
		puts = append(puts, put{p})
	}
	return e.ask(ctx, "/v3/kv/txn", map[string][]put{"success": puts}, &struct{}{})
}

func (e etcd) ask(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("asking etcd: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking etcd: %s: %.500s", response.Status, data)
	}
	return json.Unmarshal(data, answer)
}
