package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

const (
	// metricsPort is that of the operator.
	metricsPort = 8080
	// startLimit bounds the time until Prometheus has scraped the operator once, stopLimit its end, in which it writes down what it knows.
	startLimit, stopLimit = time.Minute, 10 * time.Second
	// answerLimit bounds a question to Prometheus.
	answerLimit = 20 * time.Second
)

// prometheusConfig is what Prometheus is told; the target is in a file of its own, for the operator's pod changes.
const prometheusConfig = `global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: flux-operator
  scheme: https
  authorization: {type: Bearer, credentials_file: token}
  tls_config: {insecure_skip_verify: true}
  file_sd_configs:
  - {files: [targets.json]}
`

// PrometheusOptions say how a Prometheus runs. All of them are required.
type PrometheusOptions struct {
	// Dir is the folder that it works in.
	Dir string
	// Rules are the alerts that it evaluates, every second.
	Rules RuleFile
	// Interval is how often it scrapes the operator. A scrape that takes longer is lost.
	Interval time.Duration
}

// Prometheus is one on this machine that scrapes the operator of a site with the token of config/monitoring, and evaluates rules.
type Prometheus struct {
	site      *site.Site
	dir       string
	address   string
	processes *process.Group
	forward   func() // ends the way to the operator's pod
}

// StartPrometheus runs a Prometheus and waits until it has scraped the operator. What of config/monitoring it needs is to be in the cluster: see [Install].
func StartPrometheus(ctx context.Context, s *site.Site, options PrometheusOptions) (*Prometheus, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, fmt.Errorf("finding Prometheus: %w; it is in a Debian package, which this installs: make monitoring-deps", err)
	}
	p := &Prometheus{site: s, dir: options.Dir, forward: func() {}}
	token, err := scraperToken(ctx, s)
	if err != nil {
		return nil, err
	}
	err = errors.Join(p.write("token", token), p.write("prometheus.yaml", fmt.Sprintf(prometheusConfig, inSeconds(options.Interval))),
		options.Rules.Write(filepath.Join(p.dir, "rules.yaml")))
	if err != nil {
		return nil, err
	}
	if p.processes, err = process.NewGroup(p.dir); err != nil {
		return nil, err
	}
	if err := p.start(ctx, program); err != nil {
		p.Close(ctx)
		return nil, err
	}
	return p, nil
}

func (p *Prometheus) start(ctx context.Context, program string) error {
	if err := p.Follow(ctx); err != nil {
		return err
	}
	var err error
	if p.address, err = freeAddress(ctx); err != nil { // at last, before somebody else is given it
		return err
	}
	err = p.processes.Start(process.Spec{Name: "prometheus", Path: program, Args: []string{
		"--config.file=" + filepath.Join(p.dir, "prometheus.yaml"), "--storage.tsdb.path=" + filepath.Join(p.dir, "data"),
		"--web.listen-address=" + p.address, "--query.lookback-delta=1m",
	}})
	if err != nil {
		return err
	}
	return p.AwaitData(ctx, startLimit, "up == 1")
}

// Close ends Prometheus.
func (p *Prometheus) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	p.processes.Close(ctx)
	p.forward()
}

// Follow points Prometheus at the pod that the operator runs in now.
func (p *Prometheus) Follow(ctx context.Context) error {
	p.forward()
	p.forward = func() {}
	pod, err := p.site.OperatorPod(ctx)
	if err != nil {
		return err
	}
	// The way lasts longer than the step that opens it.
	address, stop, err := p.site.Forward(context.WithoutCancel(ctx), pod.Name, metricsPort)
	if err != nil {
		return err
	}
	p.forward = stop
	targets, err := json.Marshal([]map[string]any{{"targets": []string{address}, "labels": map[string]string{"namespace": pod.Namespace, "pod": pod.Name}}})
	if err != nil {
		return fmt.Errorf("writing the targets: %w", err)
	}
	return p.write("targets.json", string(targets))
}

// write writes a file at once, for Prometheus reads it as soon as it changes.
func (p *Prometheus) write(name, content string) error {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Series is what a query says of one set of labels.
type Series struct {
	// Labels of the series.
	Labels map[string]string `json:"labels"`
	// Samples in the order of time.
	Samples []Sample `json:"samples"`
}

// Sample is a value at a time.
type Sample struct {
	// Time in Unix seconds.
	Time float64 `json:"time"`
	// Value at that time.
	Value float64 `json:"value"`
}

// answered is a sample as Prometheus writes it: the time as a number, the value as a string.
type answered Sample

// UnmarshalJSON implements json.Unmarshaler.
func (s *answered) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &[]any{&s.Time, &text}); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	s.Value = value
	return err
}

// Query evaluates a query now.
func (p *Prometheus) Query(ctx context.Context, query string) ([]Series, error) {
	return p.ask(ctx, "/api/v1/query", url.Values{"query": {query}})
}

// QueryRange evaluates a query at all the times between two.
func (p *Prometheus) QueryRange(ctx context.Context, query string, from, to time.Time, step time.Duration) ([]Series, error) {
	return p.ask(ctx, "/api/v1/query_range", url.Values{
		"query": {query}, "start": {from.UTC().Format(time.RFC3339)}, "end": {to.UTC().Format(time.RFC3339)}, "step": {step.String()},
	})
}

func (p *Prometheus) ask(ctx context.Context, path string, values url.Values) ([]Series, error) {
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  *answered         `json:"value"`
			Values []answered        `json:"values"`
		} `json:"result"`
	}
	if err := p.get(ctx, path+"?"+values.Encode(), &data); err != nil {
		return nil, fmt.Errorf("asking for %q: %w", values.Get("query"), err)
	}
	var all []Series
	for _, result := range data.Result {
		if result.Value != nil {
			result.Values = []answered{*result.Value}
		}
		one := Series{Labels: result.Metric}
		for _, sample := range result.Values {
			one.Samples = append(one.Samples, Sample(sample))
		}
		all = append(all, one)
	}
	return all, nil
}

// AwaitData waits until a query has data.
func (p *Prometheus) AwaitData(ctx context.Context, limit time.Duration, query string) error {
	return p.site.Await(ctx, limit, "data of "+query, func(ctx context.Context) error {
		series, err := p.Query(ctx, query)
		if err == nil && len(series) == 0 {
			err = errors.New("there is none")
		}
		return err
	})
}

// Firing are the labels of the alerts that fire, by name of the rule.
func (p *Prometheus) Firing(ctx context.Context) (map[string][]map[string]string, error) {
	var data struct {
		Alerts []struct {
			Labels map[string]string `json:"labels"`
			State  string            `json:"state"`
		} `json:"alerts"`
	}
	if err := p.get(ctx, "/api/v1/alerts", &data); err != nil {
		return nil, fmt.Errorf("asking for the alerts: %w", err)
	}
	found := map[string][]map[string]string{}
	for _, alert := range data.Alerts {
		if alert.State == "firing" {
			found[alert.Labels["alertname"]] = append(found[alert.Labels["alertname"]], alert.Labels)
		}
	}
	return found, nil
}

// get asks the API of Prometheus and reads what is in data.
func (p *Prometheus) get(ctx context.Context, path string, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Timeout: answerLimit}).Do(request)
	if err != nil {
		return errors.Join(err, p.processes.Failed())
	}
	defer response.Body.Close()
	answer := struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

// freeAddress is one of this machine's loopback that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := listener.Addr().String()
	return address, listener.Close()
}
