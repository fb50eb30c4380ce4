package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
)

// errIncomplete means that the end is missing: whoever wrote the snapshot did not finish, or a part of it was lost.
var errIncomplete = errors.New("it is not complete: its end is missing")

// Reader reads a snapshot object by object. It trusts nothing of it: sizes and numbers are bounded, and objects are of Flux's groups alone.
type Reader struct {
	lines   *bufio.Reader
	left    int64
	limits  limits
	header  Header
	summary Summary
	sum     hash.Hash
	done    bool
}

// NewReader reads the header.
func NewReader(in io.Reader) (*Reader, error) { return newReader(in, defaultLimits()) }

func newReader(in io.Reader, limits limits) (*Reader, error) {
	plain, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot: it is not compressed with gzip: %w", err)
	}
	r := &Reader{lines: bufio.NewReaderSize(plain, 64<<10), left: limits.plain, limits: limits, sum: sha256.New(), summary: Summary{Kinds: map[string]int{}}}
	if err := r.readHeader(); err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	return r, nil
}

// Header says where the snapshot comes from.
func (r *Reader) Header() Header { return r.header }

// Summary of what was read so far, of everything once Next has returned io.EOF.
func (r *Reader) Summary() Summary { return r.summary }

// Next returns the next object. Its error is io.EOF after the last one, if the snapshot is complete and its digest right.
func (r *Reader) Next() (*unstructured.Unstructured, error) {
	if r.done {
		return nil, io.EOF
	}
	obj, err := r.next()
	if errors.Is(err, io.EOF) {
		r.done = true
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	return obj, nil
}

func (r *Reader) next() (*unstructured.Unstructured, error) {
	text, err := r.line()
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, []byte(`{"summary":`)) {
		return nil, r.end(text)
	}
	if r.summary.Objects++; r.summary.Objects > r.limits.objects {
		return nil, fmt.Errorf("it has more than %d objects", r.limits.objects)
	}
	r.sum.Write(text)
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("object %d: %w", r.summary.Objects, err)
	}
	if err := check(obj); err != nil {
		return nil, fmt.Errorf("object %d: %w", r.summary.Objects, err)
	}
	r.summary.Kinds[obj.GroupVersionKind().GroupKind().String()]++
	return obj, nil
}

// end compares what was read with what was written; io.EOF means that it is the same.
func (r *Reader) end(text []byte) error {
	var last summaryLine
	if err := json.Unmarshal(text, &last); err != nil || last.Summary == nil {
		return errors.New("its summary is malformed")
	}
	r.summary.SHA256, r.summary.LeftOut = hex.EncodeToString(r.sum.Sum(nil)), last.Summary.LeftOut
	if want := last.Summary; want.SHA256 != r.summary.SHA256 || want.Objects != r.summary.Objects || !maps.Equal(want.Kinds, r.summary.Kinds) {
		return fmt.Errorf("it was changed: its %d objects have the digest %s, the summary says %d and %q", r.summary.Objects, r.summary.SHA256, want.Objects, want.SHA256)
	}
	// The checksum of the compression stands behind the last line.
	if _, err := r.lines.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("there is something behind its end"), err)
	}
	return io.EOF
}

func (r *Reader) readHeader() error {
	text, err := r.line()
	if err != nil {
		return err
	}
	var first headerLine
	if err := json.Unmarshal(text, &first); err != nil || first.Snapshot == nil {
		return errors.New("it is no snapshot: it does not begin with a header")
	}
	r.header = *first.Snapshot
	return r.header.check()
}

// check refuses formats that cannot be read, and texts that would play tricks on a terminal.
func (h Header) check() error {
	if h.Format != Format {
		return fmt.Errorf("its format is %q, this version reads %q", shorten(h.Format), Format)
	}
	for _, text := range []string{h.Operator, h.Flux, h.Upgrade} {
		if len(text) > 128 || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("the version %q in its header is none", shorten(text))
		}
	}
	return nil
}

// line returns the next line, without more memory than a line may have.
func (r *Reader) line() ([]byte, error) {
	var text []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		text = append(text, part...)
		if r.left -= int64(len(part)); r.left < 0 {
			return nil, fmt.Errorf("it has more than %d bytes without compression", r.limits.plain)
		}
		if int64(len(text)) > r.limits.line {
			return nil, fmt.Errorf("a line has more than %d bytes", r.limits.line)
		}
		switch {
		case err == nil:
			return text, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errIncomplete
		default:
			return nil, err
		}
	}
}

// check allows what a snapshot is made of: an object of Flux with a name that the API server would take, and without anything that it sets itself.
func check(obj *unstructured.Unstructured) error {
	kind := obj.GroupVersionKind()
	if !isFlux(kind.Group) {
		return fmt.Errorf("it is a %q of %q, which is not Flux's; a snapshot holds objects of Flux alone", shorten(kind.Kind), shorten(obj.GetAPIVersion()))
	}
	problems := append(validation.IsDNS1035Label(strings.ToLower(kind.Kind)), validation.IsDNS1035Label(kind.Version)...)
	problems = append(problems, validation.IsDNS1123Subdomain(kind.Group)...)
	problems = append(problems, validation.IsDNS1123Subdomain(obj.GetName())...)
	if obj.GetNamespace() != "" {
		problems = append(problems, validation.IsDNS1123Label(obj.GetNamespace())...)
	}
	if len(problems) > 0 {
		return fmt.Errorf("kind, version, name or namespace is malformed: %s", problems[0])
	}
	return checkFields(obj)
}

// checkFields refuses fields that are never saved.
func checkFields(obj *unstructured.Unstructured) error {
	if _, found := obj.Object["status"]; found {
		return errors.New("it has a status, which is not for a snapshot to say")
	}
	metadata, _ := obj.Object["metadata"].(map[string]any)
	for field := range metadata {
		switch field {
		case "name", "namespace", "labels", "annotations":
		default:
			return fmt.Errorf("it has metadata.%q, which is not for a snapshot to say", shorten(field))
		}
	}
	return nil
}

// shorten bounds a text from outside for a message.
func shorten(text string) string {
	const limit = 100
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}
