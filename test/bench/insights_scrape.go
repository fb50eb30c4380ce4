package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// scrapeLimit is what Prometheus waits at most by default.
	scrapeLimit = 10 * time.Second
	// countedObjects and singleObject are metrics of the operator, and of what stands beside it.
	countedObjects, singleObject = "flux_objects", "flux_resource_info"
)

// scrape is one reading of metrics, as a monitoring system makes it.
type scrape struct {
	took time.Duration
	// read is when the last byte came.
	read time.Time
	// wire is how many bytes came, plain how many there are of text.
	wire, plain int
	// objects there are, failing of them are not ready, and series of single ones.
	objects, failing, series int
}

// scrape reads metrics.
func (s *scraper) scrape(ctx context.Context, address string) (one scrape, err error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return one, fmt.Errorf("reading metrics: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Accept-Encoding", "gzip")
	began := time.Now()
	response, err := s.http.Do(request)
	if err != nil {
		return one, fmt.Errorf("reading metrics: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return one, fmt.Errorf("reading metrics: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return one, fmt.Errorf("reading metrics: %s", response.Status)
	}
	one.took, one.read, one.wire = time.Since(began), time.Now(), len(body)
	if response.Header.Get("Content-Encoding") == "gzip" {
		if body, err = decompress(body); err != nil {
			return one, fmt.Errorf("reading metrics: %w", err)
		}
	}
	one.plain = len(body)
	return one, one.count(body)
}

func decompress(body []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// count reads how many objects there are.
func (s *scrape) count(text []byte) error {
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(line, []byte("{"))
		switch string(name) {
		case singleObject:
			s.series++
		case countedObjects:
			written := strings.TrimSpace(string(line[bytes.LastIndexByte(line, ' ')+1:]))
			objects, err := strconv.ParseFloat(written, 64)
			if err != nil {
				return fmt.Errorf("reading %s: %w", countedObjects, err)
			}
			s.objects += int(objects)
			if bytes.Contains(line, []byte(`ready="False"`)) {
				s.failing += int(objects)
			}
		}
	}
	return nil
}
