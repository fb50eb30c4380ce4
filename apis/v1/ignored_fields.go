package v1

import (
	"fmt"
	"strings"
)

// maxIgnoredFields bounds how many fields of one object may be left to others.
const maxIgnoredFields = 64

// IgnoredFields returns the fields that IgnoreFieldsAnnotation leaves to others, each as the names and list positions on the way to it.
// Fails on text that is no list of JSON pointers (RFC 6901), and on fields by which the operator knows its objects.
func IgnoredFields(annotations map[string]string) ([][]string, error) {
	var fields [][]string
	for pointer := range strings.SplitSeq(annotations[IgnoreFieldsAnnotation], ",") {
		pointer = strings.TrimSpace(pointer)
		if pointer == "" {
			continue
		}
		field, err := parsePointer(pointer)
		if err != nil {
			return nil, fmt.Errorf("reading annotation %s: %q %w", IgnoreFieldsAnnotation, pointer, err)
		}
		if fields = append(fields, field); len(fields) > maxIgnoredFields {
			return nil, fmt.Errorf("reading annotation %s: it names more than %d fields", IgnoreFieldsAnnotation, maxIgnoredFields)
		}
	}
	return fields, nil
}

func parsePointer(pointer string) ([]string, error) {
	path, rooted := strings.CutPrefix(pointer, "/")
	if !rooted {
		return nil, fmt.Errorf("is no JSON pointer: it begins with no slash, as /spec/replicas does")
	}
	field := strings.Split(path, "/")
	for i, token := range field {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(token), "~") {
			return nil, fmt.Errorf("is no JSON pointer: a tilde is written ~0, and a slash in a name ~1")
		}
		field[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	if isIdentity(field) {
		return nil, fmt.Errorf("cannot be left to others: of apiVersion, kind and metadata it may be a single label or annotation that is not the operator's")
	}
	return field, nil
}

// isIdentity tells whether a field says which object it is, or whose.
func isIdentity(field []string) bool {
	switch field[0] {
	case "apiVersion", "kind":
		return true
	case "metadata":
		return len(field) != 3 || field[1] != "labels" && field[1] != "annotations" || strings.HasPrefix(field[2], Group+"/")
	}
	return false
}
