package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on what a release may make us read. The largest file of any known release has 230 KB, 8 documents and 30 levels, all files of
// one have 690 KB. Parsing takes up to 150 times the memory that the text has.
const (
	maxFileBytes = 1 << 20
	maxDocuments = 256
	maxDepth     = 128
)

// parse reads all documents of a YAML stream into the types the Kubernetes API machinery works on; empty documents are left out.
//
// It walks the parser's nodes itself, which is faster than decoding into interfaces and lets it refuse aliases, merge keys, foreign
// tags and repeated keys: none of them is in a released manifest, and each is a way to make a small file into something else.
func parse(content []byte) ([]map[string]any, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var documents []map[string]any
	for range maxDocuments + 1 {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := convert(&node, 0)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		document, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("line %d: a document is not an object", node.Line)
		}
		documents = append(documents, document)
	}
	return nil, fmt.Errorf("it holds more than %d documents", maxDocuments)
}

func convert(node *yaml.Node, depth int) (any, error) {
	var null any // a value of YAML like any other
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: it is nested more than %d levels deep", node.Line, maxDepth)
	}
	switch node.Kind {
	case yaml.DocumentNode:
		if len(node.Content) != 1 {
			return null, nil
		}
		return convert(node.Content[0], depth)
	case yaml.MappingNode:
		return convertMapping(node, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, item := range node.Content {
			value, err := convert(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		return convertScalar(node)
	case yaml.AliasNode:
		return nil, fmt.Errorf("line %d: aliases are not allowed", node.Line)
	}
	return null, nil
}

func convertMapping(node *yaml.Node, depth int) (any, error) {
	fields := make(map[string]any, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			return nil, fmt.Errorf("line %d: the key %q is not a string", key.Line, key.Value)
		}
		if _, repeated := fields[key.Value]; repeated {
			return nil, fmt.Errorf("line %d: the key %q is repeated", key.Line, key.Value)
		}
		value, err := convert(node.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		fields[key.Value] = value
	}
	return fields, nil
}

func convertScalar(node *yaml.Node) (any, error) {
	var null any
	switch node.ShortTag() {
	case "!!str":
		if yes, isWord := oldBoolean(node); isWord {
			return yes, nil
		}
		return node.Value, nil
	case "!!timestamp":
		return node.Value, nil
	case "!!null":
		return null, nil
	case "!!bool":
		var value bool
		err := decode(node, &value)
		return value, err
	case "!!int":
		var value int64
		err := decode(node, &value)
		return value, err
	case "!!float":
		value, err := strconv.ParseFloat(strings.ReplaceAll(node.Value, "_", ""), 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q is no number that JSON knows", node.Line, node.Value)
		}
		return value, nil
	}
	return nil, fmt.Errorf("line %d: the tag %q is not allowed", node.Line, node.Tag)
}

func decode(node *yaml.Node, value any) error {
	if err := node.Decode(value); err != nil {
		return fmt.Errorf("line %d: reading %q: %w", node.Line, node.Value, err)
	}
	return nil
}

// oldBoolean reads the plain words that YAML 1.1, and with it kubectl, takes for booleans.
func oldBoolean(node *yaml.Node) (value, isWord bool) {
	if node.Style != 0 || len(node.Value) > 3 {
		return false, false
	}
	switch node.Value {
	case "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}
