package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// checkInterval is that between two looks at the artifact while they are counted, checkTime how long that is done.
	checkInterval = time.Second
	checkTime     = 30 * time.Second
	// hourlyChecks is how many there are with the default interval.
	hourlyChecks = float64(time.Hour / v1.DefaultReconcileArtifactEvery)

	verifySecret = "bench-keys"
	// instanceController and artifactController are what metrics call the two loops.
	instanceController = "fluxinstance"
	artifactController = "fluxinstance-artifact"
)

// checks is what the operator did while the artifact stayed the same.
type checks struct {
	// made is how many by its own count.
	made float64
	// requests to the registry, downloads among them, and bytes in both directions.
	requests, downloads, bytes float64
	cpu                        time.Duration
	asked                      requests
}

// figures are per check, and for an hour.
func (c checks) figures() []Figure {
	return []Figure{
		atMost("nothing new, requests to the registry for each check", perCheck, sample{c.requests / c.made}, 1),
		atMost("nothing new, downloads", count, sample{c.downloads}, 0),
		measured("nothing new, bytes on the wire for each check", count, sample{c.bytes / c.made}),
		measured("nothing new, requests to the registry in an hour", count, sample{c.requests / c.made * hourlyChecks}),
		measured("nothing new, bytes on the wire in an hour", count, sample{c.bytes / c.made * hourlyChecks}),
		measured("nothing new, requests to the API server for each check", perCheck, sample{float64(len(c.asked)) / c.made}),
		measured("nothing new, CPU time for each check, what the idle operator takes included", tenths, sample{inMS(c.cpu) / c.made}),
	}
}

// watchChecks has a settled operator look at the artifact often.
func (b *bench) watchChecks(ctx context.Context, p *published) (c checks, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*installLimit)
	defer cancel()
	between, err := openWire(ctx, p.hub.Addr)
	if err != nil {
		return c, err
	}
	defer between.close()
	in := instance(b.distribution.release)
	in.Spec.Distribution.Artifact = "oci://" + between.address + "/" + artifactTag
	in.Spec.Distribution.ArtifactSource = &v1.ArtifactSource{
		Insecure: true, Verify: &v1.ArtifactVerification{SecretRef: &meta.LocalObjectReference{Name: verifySecret}},
	}
	keys := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: v1.DefaultNamespace, Name: verifySecret}, Data: map[string][]byte{"cosign.pub": p.key.Public},
	}
	err = b.onCluster(ctx, func(ctx context.Context) error {
		if err := b.cluster.admin.Create(ctx, keys); err != nil {
			return fmt.Errorf("making the Secret with the keys: %w", err)
		}
		return b.settle(ctx, in, func(ctx context.Context, o *operator) error {
			c, err = b.countChecks(ctx, o, p, between)
			return err
		})
	})
	return c, err
}

// countChecks lets the operator look at the artifact for a while.
func (b *bench) countChecks(ctx context.Context, o *operator, p *published, between *wire) (c checks, err error) {
	metrics, err := b.cluster.newScraper(ctx)
	if err != nil {
		return c, err
	}
	first := p.hub.Requests().Under(http.MethodHead, "")
	if err := b.cluster.annotate(ctx, v1.ReconcileArtifactEveryAnnotation, checkInterval.String()); err != nil {
		return c, err
	}
	err = o.group.Await(ctx, "the operator to look often", func(context.Context) error {
		if p.hub.Requests().Under(http.MethodHead, "") < first+2 {
			return errors.New("it looks as it did before")
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	made, err := metrics.passes(ctx, o, artifactController)
	if err != nil {
		return c, err
	}
	before, err := o.usage()
	if err != nil {
		return c, err
	}
	began, asked, bytes := time.Now(), p.hub.Requests(), between.bytes.Load()
	if err := pause(ctx, checkTime); err != nil {
		return c, err
	}
	ended, now := time.Now(), p.hub.Requests()
	c.requests = float64(now.Under("", "") - asked.Under("", ""))
	c.downloads = float64(now.Under(http.MethodGet, "") - asked.Under(http.MethodGet, ""))
	c.bytes = float64(between.bytes.Load() - bytes)
	after, err := o.usage()
	if err != nil {
		return c, err
	}
	c.cpu = after.cpu - before.cpu
	if c.made, err = metrics.passes(ctx, o, artifactController); err != nil {
		return c, err
	}
	if c.made -= made; c.made < 1 {
		return c, errors.New("the operator did not look at the artifact")
	}
	all, err := b.cluster.audit.between(operatorUser, began, ended)
	c.asked = all.work()
	return c, err
}

// wire stands between a client and a server on loopback and counts the bytes in both directions.
type wire struct {
	address string
	bytes   atomic.Int64

	listener net.Listener
	stop     context.CancelFunc
}

// openWire leads to the server at an address.
func openWire(ctx context.Context, server string) (*wire, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the operator: %w", err)
	}
	w := &wire{address: listener.Addr().String(), listener: listener}
	ctx, w.stop = context.WithCancel(ctx)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			go w.join(ctx, client, server)
		}
	}()
	return w, nil
}

// join copies both ways until one side is done.
func (w *wire) join(ctx context.Context, client net.Conn, address string) {
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		_ = client.Close() // it sees that nobody answers
		return
	}
	hangUp := func() { _ = errors.Join(client.Close(), server.Close()) } // whoever comes second finds them closed
	defer hangUp()
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	go func() {
		defer hangUp()
		w.pour(client, server)
	}()
	w.pour(server, client)
}

// pour counts while it copies, since connections are kept open between requests, and before anybody can have what it counts.
func (w *wire) pour(to io.Writer, from io.Reader) {
	_, _ = io.Copy(io.MultiWriter(counter{&w.bytes}, to), from) // an end is an end
}

// counter counts what is written to it.
type counter struct{ bytes *atomic.Int64 }

// Write never fails.
func (c counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// close ends all connections.
func (w *wire) close() {
	_ = w.listener.Close() // nobody is waited for
	w.stop()
}
