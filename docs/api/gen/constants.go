package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// constants renders the string constants of one file whose names match the pattern, in the order of the file: value and doc comment.
func constants(folder, file, pattern string) (string, error) {
	sources, err := parseFolder(folder)
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	for range 2 { // the second round finds what values of the first begin with
		for _, source := range sources {
			eachConstant(source, func(spec *ast.ValueSpec) { evaluate(spec, values) })
		}
	}
	source, ok := sources[file]
	if !ok {
		return "", fmt.Errorf("%s has no file %s", filepath.Base(folder), file)
	}
	b := &strings.Builder{}
	b.WriteString("| Value | Meaning |\n|---|---|\n")
	rows := 0
	eachConstant(source, func(spec *ast.ValueSpec) {
		name := spec.Names[0].Name
		if matches, err := path.Match(pattern, name); err != nil || !matches {
			return
		}
		rows++
		fmt.Fprintf(b, "| `%s` | %s |\n", values[name], oneLine(sentence(name, spec.Doc.Text())))
	})
	if rows == 0 {
		return "", fmt.Errorf("no constant of %s matches %q", file, pattern)
	}
	return b.String(), nil
}

// parseFolder parses the Go files of a folder, tests aside.
func parseFolder(folder string) (map[string]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("finding Go files: %w", err)
	}
	sources := map[string]*ast.File{}
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parsing Go: %w", err)
		}
		sources[filepath.Base(p)] = source
	}
	return sources, nil
}

// eachConstant visits the constants of a file that are declared one by one.
func eachConstant(source *ast.File, visit func(*ast.ValueSpec)) {
	for _, declaration := range source.Decls {
		block, ok := declaration.(*ast.GenDecl)
		if !ok || block.Tok != token.CONST {
			continue
		}
		for _, spec := range block.Specs {
			if value, ok := spec.(*ast.ValueSpec); ok && len(value.Names) == 1 && len(value.Values) == 1 {
				visit(value)
			}
		}
	}
}

// evaluate notes the value of a constant that is a string or a sum of strings; others have no row in a table.
func evaluate(spec *ast.ValueSpec, values map[string]string) {
	if text, ok := textOf(spec.Values[0], values); ok {
		values[spec.Names[0].Name] = text
	}
}

func textOf(expression ast.Expr, values map[string]string) (string, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := values[e.Name]
		return text, ok
	case *ast.BinaryExpr:
		left, leftOK := textOf(e.X, values)
		right, rightOK := textOf(e.Y, values)
		return left + right, leftOK && rightOK && e.Op == token.ADD
	default:
		return "", false
	}
}

// sentence turns a doc comment into a sentence about the value: without the name it begins with.
func sentence(name, doc string) string {
	rest := strings.TrimSpace(strings.TrimPrefix(doc, name))
	for _, verb := range []string{"surfaces ", "is the reason of ", "is "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	if rest == "" {
		return ""
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}
