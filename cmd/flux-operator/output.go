package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// What --output takes.
const (
	outputYAML = "yaml"
	outputJSON = "json"
)

// writerFor returns what writes a set in a format.
func writerFor(format string) (func(io.Writer, *render.Set) error, error) {
	switch format {
	case outputYAML:
		return writeYAML, nil
	case outputJSON:
		return writeJSON, nil
	}
	return nil, fmt.Errorf("--output: %q is not known; write %s or %s", format, outputYAML, outputJSON)
}

func writeYAML(out io.Writer, set *render.Set) error {
	text, err := set.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// writeJSON writes one List, as kubectl does.
func writeJSON(out io.Writer, set *render.Set) error {
	items := make([]any, 0, len(set.Objects))
	for _, obj := range set.Objects {
		items = append(items, obj.Object)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	return encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}
