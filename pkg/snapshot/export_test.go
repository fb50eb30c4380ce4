package snapshot

import (
	"bytes"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Forge makes a snapshot of objects that no cluster has.
func Forge(objects []*unstructured.Unstructured) ([]byte, error) {
	var out bytes.Buffer
	w, err := newWriter(&out, Header{}, defaultLimits())
	if err != nil {
		return nil, err
	}
	for _, obj := range objects {
		if err := w.add(content(obj)); err != nil {
			return nil, err
		}
	}
	_, err = w.close()
	return out.Bytes(), err
}
