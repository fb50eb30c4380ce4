package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// askEvery is how often the sample app is asked, askLimit how long it may take to answer on a busy machine: where nobody answers, that is said at once.
	askEvery = 100 * time.Millisecond
	askLimit = 10 * time.Second
)

// asking asks the sample app through its Service all the time.
type asking struct {
	// stop ends it, once.
	stop     func()
	asked    int
	failures []string
}

// askSteadily begins to ask.
func askSteadily(ctx context.Context) *asking {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", here.Cluster.Kubeconfig)
	must(err)
	requests, err := rest.HTTPClientFor(config)
	must(err)
	requests.Timeout = askLimit
	address := fmt.Sprintf("%s/api/v1/namespaces/%s/services/http:%s:80/proxy/", config.Host, site.WorkloadNamespace, site.Workload)
	ctx, cancel := context.WithCancel(ctx)
	a := &asking{}
	ended := make(chan struct{})
	a.stop = sync.OnceFunc(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		ticker := time.NewTicker(askEvery)
		defer ticker.Stop()
		for {
			if err := askOnce(ctx, requests, address); err != nil && ctx.Err() == nil {
				a.failures = append(a.failures, time.Now().Format(time.TimeOnly)+": "+err.Error())
			}
			a.asked++
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	return a
}

func askOnce(ctx context.Context, requests *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := requests.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, said)
	}
	return err
}

// checkGapless stops asking and checks that every answer came.
func (a *asking) checkGapless() {
	GinkgoHelper()
	a.stop()
	Expect(a.failures).To(BeEmpty(), "of %d requests", a.asked)
	Expect(a.asked).To(BeNumerically(">", 10))
}
