package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// What --output takes; which of them is for each command to say.
const (
	outputText = "text"
	outputYAML = "yaml"
	outputJSON = "json"
)

// bindOutput gives the command the flag for the format, of which the first is the default.
func bindOutput(cmd *cobra.Command, value *string, usage string, formats ...string) {
	cmd.Flags().StringVarP(value, "output", "o", formats[0], usage)
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
}

// checkOutput refuses formats that a command does not have.
func checkOutput(format string, formats ...string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	return fmt.Errorf("--output: %q is not known; write %s", format, strings.Join(formats, " or "))
}

// writerFor returns what writes a set in a format.
func writerFor(format string) (func(io.Writer, *render.Set) error, error) {
	if format == outputJSON {
		return writeList, nil
	}
	return writeYAML, checkOutput(format, outputYAML, outputJSON)
}

func writeYAML(out io.Writer, set *render.Set) error {
	text, err := set.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// writeList writes one List, as kubectl does.
func writeList(out io.Writer, set *render.Set) error {
	items := make([]any, 0, len(set.Objects))
	for _, obj := range set.Objects {
		items = append(items, obj.Object)
	}
	return writeJSON(out, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	return encoder.Encode(value)
}
