package olm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	family        = "olm"
	managerModule = "github.com/operator-framework/operator-lifecycle-manager"
	apiModule     = "github.com/operator-framework/api"
)

// templates are the parts of its chart that make it run; the API of packages, its metrics, a catalog on the internet and what OpenShift adds are left out.
func templates() []string {
	return []string{
		"0000_50_olm_00-namespace", "0000_50_olm_02-olm-operator.serviceaccount", "0000_50_olm_03-olmconfig", "0000_50_olm_07-olm-operator.deployment",
		"0000_50_olm_08-catalog-operator.deployment", "0000_50_olm_09-aggregated.clusterrole", "0000_50_olm_13-operatorgroup-default",
	}
}

// manifests renders its own chart with its own values for clusters that are not OpenShift, but for the images.
func manifests(ctx context.Context, manager, opm string) ([]*unstructured.Unstructured, error) {
	module, err := tools.ModuleDir(ctx, family, managerModule)
	if err != nil {
		return nil, err
	}
	values, err := chartValues(module, manager, opm)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range templates() {
		content, err := os.ReadFile(filepath.Join(module, "deploy", "chart", "templates", name+".yaml"))
		if err != nil {
			return nil, fmt.Errorf("reading the chart of the lifecycle manager: %w", err)
		}
		rendered, err := render(string(content), values)
		if err != nil {
			return nil, fmt.Errorf("rendering %q of the lifecycle manager: %w", name, err)
		}
		more, err := decode(rendered)
		if err != nil {
			return nil, fmt.Errorf("parsing %q of the lifecycle manager: %w", name, err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

// chartValues are the chart's defaults, those for clusters that are not OpenShift over them, and the images over both.
func chartValues(module, manager, opm string) (map[string]any, error) {
	values := map[string]any{}
	for _, file := range []string{"chart/values.yaml", "upstream/values.yaml"} {
		content, err := os.ReadFile(filepath.Join(module, "deploy", filepath.FromSlash(file)))
		if err != nil {
			return nil, fmt.Errorf("reading the values of the lifecycle manager: %w", err)
		}
		var more map[string]any
		if err := yaml.Unmarshal(content, &more); err != nil {
			return nil, fmt.Errorf("parsing the values of the lifecycle manager: %w", err)
		}
		merge(values, more)
	}
	image := map[string]any{"image": map[string]any{"ref": manager}}
	merge(values, map[string]any{"olm": image, "catalog": map[string]any{"opmImageArgs": "--opmImage=" + opm}})
	merge(values, map[string]any{"catalog": image})
	return values, nil
}

// merge puts values over others, map by map.
func merge(into, over map[string]any) {
	for key, value := range over {
		below, isMap := into[key].(map[string]any)
		if above, ok := value.(map[string]any); ok && isMap {
			merge(below, above)
			continue
		}
		into[key] = value
	}
}

// render knows the two functions that these templates use.
func render(text string, values map[string]any) ([]byte, error) {
	functions := template.FuncMap{
		"toYaml": func(value any) (string, error) {
			content, err := yaml.Marshal(value)
			return strings.TrimSpace(string(content)), err
		},
		"indent": func(count int, text string) string {
			space := strings.Repeat(" ", count)
			return space + strings.ReplaceAll(text, "\n", "\n"+space)
		},
	}
	parsed, err := template.New("").Funcs(functions).Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, map[string]any{"Values": values})
	return out.Bytes(), err
}

// definitions returns the kinds of the lifecycle manager.
func definitions(ctx context.Context) ([]*unstructured.Unstructured, error) {
	module, err := tools.ModuleDir(ctx, family, apiModule)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(module, "crds", "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding the definitions of the lifecycle manager in %q: %w", module, errors.Join(err, os.ErrNotExist))
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a definition of the lifecycle manager: %w", err)
		}
		more, err := decode(content)
		if err != nil {
			return nil, fmt.Errorf("parsing %q: %w", file, err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

// decode reads a stream of YAML documents.
func decode(content []byte) ([]*unstructured.Unstructured, error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
