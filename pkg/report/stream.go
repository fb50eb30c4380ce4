package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// item is an object on its way from the API server into the store. A reflector sees of it what it needs to follow a watch.
type item[T any] struct {
	namespace       string
	name            string
	resourceVersion string
	// endsInitial marks the bookmark after the objects that were there when a watch began.
	endsInitial string
	value       T
}

// metadataWire are the fields of metadata that following a watch takes.
type metadataWire struct {
	Name            string `json:"name"`
	Namespace       string `json:"namespace"`
	UID             string `json:"uid"`
	ResourceVersion string `json:"resourceVersion"`
	Annotations     struct {
		Reconcile   string `json:"fluxcd.controlplane.io/reconcile"` //nolint:tagliatelle // the name of an annotation
		EndsInitial string `json:"k8s.io/initial-events-end"`        //nolint:tagliatelle // the name of an annotation
	} `json:"annotations"`
}

func itemOf[T any](m *metadataWire, value T) *item[T] {
	return &item[T]{namespace: m.Namespace, name: m.Name, resourceVersion: m.ResourceVersion, endsInitial: m.Annotations.EndsInitial, value: value}
}

// GetObjectKind says nothing: a reflector is told its kind when it is made.
func (*item[T]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the item itself: nobody changes it.
func (i *item[T]) DeepCopyObject() runtime.Object { return i }

// GetObjectMeta returns what a reflector asks for.
func (i *item[T]) GetObjectMeta() metav1.Object {
	meta := &metav1.ObjectMeta{Namespace: i.namespace, Name: i.name, ResourceVersion: i.resourceVersion}
	if i.endsInitial != "" {
		meta.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: i.endsInitial}
	}
	return meta
}

// page is a part of a list.
type page struct {
	metav1.TypeMeta
	metav1.ListMeta

	Items []runtime.Object
}

// DeepCopyObject returns the page itself: nobody changes it.
func (p *page) DeepCopyObject() runtime.Object { return p }

// reader reads one object from a stream and reduces it.
type reader[T any] func(*json.Decoder) (*item[T], error)

// decode reads one value. Fields of another type than expected stay empty: what a name means differs between kinds.
func decode(stream *json.Decoder, into any) error {
	err := stream.Decode(into)
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		return nil
	}
	return err
}

// fields walks through a JSON object and calls read for each of its fields; read takes the value from the stream.
func fields(stream *json.Decoder, read func(name string) error) error {
	if err := expect(stream, '{'); err != nil {
		return err
	}
	for stream.More() {
		name, err := stream.Token()
		if err != nil {
			return err
		}
		text, isText := name.(string)
		if !isText {
			return fmt.Errorf("reading an object: %v is no name of a field", name)
		}
		if err := read(text); err != nil {
			return err
		}
	}
	return expect(stream, '}')
}

// expect takes a delimiter from the stream.
func expect(stream *json.Decoder, wanted json.Delim) error {
	got, err := stream.Token()
	if err != nil {
		return err
	}
	if got != wanted {
		return fmt.Errorf("reading an object: %v instead of %v", got, wanted)
	}
	return nil
}

// skip takes a value from the stream and forgets it.
func skip(stream *json.Decoder) error { return decode(stream, &struct{}{}) }

// readPage reads a page of a list, one object after the other.
func readPage[T any](body io.Reader, read reader[T]) (*page, error) {
	stream := json.NewDecoder(body)
	found := &page{}
	err := fields(stream, func(name string) error {
		switch name {
		case "metadata":
			return decode(stream, &found.ListMeta)
		case "items":
			return found.readItems(stream, func() (runtime.Object, error) { return read(stream) })
		default:
			return skip(stream)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading a list: %w", cutShort(err))
	}
	return found, nil
}

// readItems reads the objects of a page.
func (p *page) readItems(stream *json.Decoder, read func() (runtime.Object, error)) error {
	opening, err := stream.Token()
	if err != nil || opening == nil { // null stands for no items
		return err
	}
	if opening != json.Delim('[') {
		return fmt.Errorf("reading items: %v instead of a list", opening)
	}
	for stream.More() {
		object, err := read()
		if err != nil {
			return err
		}
		p.Items = append(p.Items, object)
	}
	return expect(stream, ']')
}

// readEvent reads an event of a watch. The API server writes the type of an event before its object; the other way round the object cannot be read.
func readEvent[T any](stream *json.Decoder, read reader[T]) (watch.EventType, runtime.Object, error) {
	var kind watch.EventType
	var object runtime.Object
	err := fields(stream, func(name string) (err error) {
		switch {
		case name == "type":
			return decode(stream, &kind)
		case name != "object":
			return skip(stream)
		case kind == "":
			return errors.New("reading an event: it has an object before its type")
		case kind == watch.Error:
			status := &metav1.Status{}
			object = status
			return decode(stream, status)
		default:
			object, err = read(stream)
			return err
		}
	})
	if err == nil && object == nil {
		err = errors.New("reading an event: it has no object")
	}
	return kind, object, err
}

// cutShort names the end of a stream within a value for what it is.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
