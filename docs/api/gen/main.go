// Command gen writes the generated parts of the API reference: field tables out of the CRDs, and tables of constants out of the Go source of the API.
//
// A page of docs/api/v1 is written by hand, except between the markers
//
//	<!-- generated: fields spec -->
//	<!-- generated: constants conditions.go Reason* -->
//
// and the next <!-- end --> marker. Run it from the top of the repository; running it again changes nothing.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// marked finds a generated part: its instruction, and what stands there now.
var marked = regexp.MustCompile(`(?s)(<!-- generated: ([^\n]*?) -->\n).*?(<!-- end -->)`)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run brings every page under root/docs/api/v1 up to date.
func run(root string) error {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "api", "v1", "*.md"))
	if err != nil {
		return fmt.Errorf("finding pages: %w", err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return fmt.Errorf("reading a page: %w", err)
		}
		fresh, err := refresh(root, page, string(text))
		if err != nil {
			return fmt.Errorf("generating %s: %w", filepath.Base(page), err)
		}
		if fresh == string(text) {
			continue
		}
		if err := os.WriteFile(page, []byte(fresh), 0o644); err != nil {
			return fmt.Errorf("writing a page: %w", err)
		}
	}
	return nil
}

// refresh returns the text of a page with its generated parts made anew.
func refresh(root, page, text string) (string, error) {
	if strings.Count(text, "<!-- generated: ") != len(marked.FindAllString(text, -1)) {
		return "", fmt.Errorf("a generated marker has no <!-- end --> behind it")
	}
	var failed error
	fresh := marked.ReplaceAllStringFunc(text, func(part string) string {
		groups := marked.FindStringSubmatch(part)
		made, err := generate(root, page, strings.Fields(groups[2]))
		if err != nil && failed == nil {
			failed = fmt.Errorf("%q: %w", groups[2], err)
		}
		return groups[1] + "\n" + made + "\n" + groups[3]
	})
	return fresh, failed
}

// generate carries out one instruction.
func generate(root, page string, instruction []string) (string, error) {
	switch {
	case len(instruction) == 2 && instruction[0] == "fields":
		kind := strings.TrimSuffix(filepath.Base(page), ".md")
		crd := filepath.Join(root, "config", "crd", "bases", "fluxcd.controlplane.io_"+kind+"s.yaml")
		return fields(crd, instruction[1])
	case len(instruction) == 3 && instruction[0] == "constants":
		return constants(filepath.Join(root, "apis", "v1"), instruction[1], instruction[2])
	default:
		return "", fmt.Errorf("unknown instruction: want \"fields FIELD\" or \"constants FILE PATTERN\"")
	}
}
