package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// pageSize is how many objects one answer holds.
	pageSize = 500
	// pageTimeout bounds reading a page.
	pageTimeout = time.Minute
	// endGrace is how long after its time the end of a watch is waited for.
	endGrace = 30 * time.Second
)

// feed reads the objects of one resource, and reduces them while it does.
type feed[T any] struct {
	client rest.Interface
	// path is the address of the resource.
	path string
	// labels and fields select objects.
	labels, fields string
	read           reader[T]
	// attempted is told how each attempt went.
	attempted func(error)
	// silence is how long a watch may say nothing before another takes its place; API servers send a bookmark each minute.
	silence time.Duration
	// streamed tells that what was read last came from the watch that goes on, and not from lists.
	streamed bool
}

// run keeps a store as the resource is, until the context ends. Relists, broken and expired watches and delays are a reflector's business.
func (f *feed[T]) run(ctx context.Context, into cache.ReflectorStore) {
	logger := klog.FromContext(ctx)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return f.list(ctx, options)
		},
		WatchFuncWithContext: f.watch,
	}
	reflector := cache.NewReflectorWithOptions(source, &item[T]{}, &fed[T]{into, f}, cache.ReflectorOptions{
		Logger: &logger, Name: "report", TypeDescription: f.path,
		// Short delays: what is not seen is not told.
		Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Steps: 5, Cap: 8 * time.Second, Jitter: 0.5},
	})
	reflector.WatchListPageSize = pageSize
	reflector.RunWithContext(ctx)
}

// fed hands on what a reflector reads, and tells that the resource is watched where it is by then. After lists the watch is still to be opened, which
// may be refused.
type fed[T any] struct {
	cache.ReflectorStore

	feed *feed[T]
}

// Replace hands on all objects.
func (s *fed[T]) Replace(objects []any, version string) error {
	err := s.ReflectorStore.Replace(objects, version)
	if err == nil && s.feed.streamed {
		s.feed.attempted(nil)
	}
	return err
}

// list reads a page.
func (f *feed[T]) list(ctx context.Context, options metav1.ListOptions) (*page, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	f.streamed = false
	// The newest state: API servers ignore the size of a page when they are asked for any state.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	body, err := f.open(ctx, &options)
	if err != nil {
		f.failed("listing", err)
		return nil, err
	}
	defer body.Close()
	found, err := readPage(body, f.read)
	if err != nil {
		f.failed("listing", err)
	}
	return found, err
}

// watch begins a watch.
func (f *feed[T]) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	limit := endGrace
	if options.TimeoutSeconds != nil {
		limit += time.Duration(*options.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	alarm := time.AfterFunc(f.silence, cancel) // a watch may hang before it is open
	options.Watch = true
	body, err := f.open(ctx, &options)
	if err != nil {
		if !alarm.Stop() {
			err = fmt.Errorf("the API server said nothing for %s", f.silence)
		}
		cancel()
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) { // a new list follows at once
			f.failed("watching", err)
		}
		return nil, err
	}
	f.streamed = options.SendInitialEvents != nil
	if !f.streamed {
		f.attempted(nil)
	}
	events := &stream[T]{ctx: ctx, cancel: cancel, body: body, json: json.NewDecoder(body), read: f.read, silence: f.silence, alarm: alarm}
	alarm.Reset(f.silence)
	return watch.NewStreamWatcherWithLogger(klog.FromContext(ctx), events, apierrors.NewClientErrorReporter(http.StatusInternalServerError, "get", "ClientWatchDecoding")), nil
}

// open sends a request.
func (f *feed[T]) open(ctx context.Context, options *metav1.ListOptions) (io.ReadCloser, error) {
	options.LabelSelector, options.FieldSelector = f.labels, f.fields
	return f.client.Get().AbsPath(f.path).
		SpecificallyVersionedParams(options, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"}).
		Stream(ctx)
}

// failed tells that an attempt failed. The address of the request is left out: it is another each time, and what is told should not be.
func (f *feed[T]) failed(doing string, err error) {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request.Err
	}
	f.attempted(fmt.Errorf("%s %q: %w", doing, f.path, err))
}

// stream reads the events of a watch.
type stream[T any] struct {
	ctx     context.Context //nolint:containedctx // of the request that the body answers
	cancel  context.CancelFunc
	body    io.ReadCloser
	json    *json.Decoder
	read    reader[T]
	silence time.Duration
	alarm   *time.Timer
}

// Decode returns the next event. A watch that was ended from this side ends like one that was ended by the API server: another goes on from there.
func (s *stream[T]) Decode() (watch.EventType, runtime.Object, error) {
	kind, object, err := readEvent(s.json, s.read)
	s.alarm.Reset(s.silence)
	if err != nil && s.ctx.Err() != nil {
		return "", nil, io.EOF
	}
	return kind, object, err
}

// Close ends the watch.
func (s *stream[T]) Close() {
	s.alarm.Stop()
	s.cancel()
	s.body.Close()
}
