package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// print writes a report in the format that was asked for.
func (a adopt) print(out io.Writer, report *v1.AdoptionStatus) error {
	switch a.output {
	case outputJSON:
		return writeJSON(out, report)
	case outputYAML:
		text, err := yaml.Marshal(report)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	return writeReport(out, report)
}

// writeReport writes a report for people.
func writeReport(out io.Writer, report *v1.AdoptionStatus) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	if report.Objects == 0 {
		fmt.Fprintln(table, "There is nothing to take over.")
		return table.Flush()
	}
	version := report.Version
	if version == "" {
		version = "unknown"
	}
	fmt.Fprintf(table, "Flux %s, %d of the wanted objects are there.\n", version, report.Objects)
	fmt.Fprintln(table, "\nMANAGED BY\tOBJECTS")
	for _, tool := range report.Tools {
		fmt.Fprintf(table, "%s\t%d\n", tool.Name, tool.Objects)
	}
	section(table, "SETTINGS THAT WOULD BE LOST\tSET BY\tFIELD", report.Losses, func(loss v1.AdoptionLoss) {
		for _, field := range loss.Fields {
			fmt.Fprintf(table, "%s\t%s\t%s\n", loss.Object, loss.Manager, field)
		}
	})
	section(table, "REFUSED BY spec.adoption.collisions", report.Refused, func(object string) { fmt.Fprintln(table, object) })
	section(table, "DEFINITION\tOBJECTS ARE STORED IN", report.StoredVersions, func(stored v1.StoredVersions) {
		fmt.Fprintf(table, "%s\t%s\n", stored.Definition, strings.Join(stored.Versions, ", "))
	})
	for _, tool := range report.Tools {
		if tool.Advice != "" {
			fmt.Fprintf(table, "\n%s:\n  %s\n", tool.Name, tool.Advice)
		}
	}
	if len(report.Losses) == 0 {
		fmt.Fprintln(table, "\nNo settings would be lost.")
	}
	return table.Flush()
}

// section writes a part of a report that has something to say.
func section[T any](out io.Writer, head string, items []T, write func(T)) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintln(out, "\n"+head)
	for _, item := range items {
		write(item)
	}
	if len(items) == migrate.MaxListed {
		fmt.Fprintf(out, "and maybe more: %d are listed at most\n", migrate.MaxListed)
	}
}
