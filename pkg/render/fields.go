package render

import (
	"fmt"
	"strings"
)

// fieldAt walks down nested maps without copying; found is false where a step is missing or is no map.
func fieldAt(root map[string]any, path ...string) (value any, found bool) {
	value = root
	for _, step := range path {
		parent, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, found = parent[step]; !found {
			return nil, false
		}
	}
	return value, true
}

// mapAt returns the map at the path itself, not a copy; it fails where there is none.
func mapAt(root map[string]any, path ...string) (map[string]any, error) {
	value, _ := fieldAt(root, path...)
	if m, ok := value.(map[string]any); ok {
		return m, nil
	}
	return nil, fmt.Errorf("it has no object at %s", dotted(path))
}

// ensureMap returns the map at the path itself and makes the missing steps; it fails where something else is in the way.
func ensureMap(root map[string]any, path ...string) (map[string]any, error) {
	for i, step := range path {
		child, ok := root[step].(map[string]any)
		if !ok {
			if root[step] != nil {
				return nil, fmt.Errorf("it has no object at %s", dotted(path[:i+1]))
			}
			child = map[string]any{}
			root[step] = child
		}
		root = child
	}
	return root, nil
}

// listAt returns the list at the path itself; a missing one is empty, and it fails where something else is there.
func listAt(root map[string]any, path ...string) ([]any, error) {
	value, found := fieldAt(root, path...)
	if !found || value == nil {
		return nil, nil
	}
	if list, ok := value.([]any); ok {
		return list, nil
	}
	return nil, fmt.Errorf("it has no list at %s", dotted(path))
}

// mapsAt is listAt for lists of objects.
func mapsAt(root map[string]any, path ...string) ([]map[string]any, error) {
	list, err := listAt(root, path...)
	if err != nil {
		return nil, err
	}
	maps := make([]map[string]any, 0, len(list))
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("it has something else than objects in the list at %s", dotted(path))
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// named finds the object of a list by its name field.
func named(items []map[string]any, name string) (map[string]any, bool) {
	for _, item := range items {
		if item["name"] == name {
			return item, true
		}
	}
	return nil, false
}

func textAt(root map[string]any, path ...string) string {
	value, _ := fieldAt(root, path...)
	text, _ := value.(string)
	return text
}

func dotted(path []string) string {
	return "." + strings.Join(path, ".")
}
