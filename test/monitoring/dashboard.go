package monitoring

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Dashboard is what is looked at in a dashboard of Grafana.
type Dashboard struct {
	// File is its name in config/monitoring/dashboards.
	File string `json:"-"`
	// UID is its address in Grafana.
	UID string `json:"uid"`
	// Title is what people read.
	Title string `json:"title"`
	// Panels are its pictures.
	Panels []Panel `json:"panels"`
	// Templating holds the variables that people choose from.
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
}

// Digest is that of all that a picture of the dashboard shows besides data: it changes when another picture is due.
func (d Dashboard) Digest() (string, error) {
	data, err := json.Marshal(d.Panels)
	if err != nil {
		return "", fmt.Errorf("digesting the dashboard %q: %w", d.File, err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data)), nil
}

// Panel is a picture of a dashboard.
type Panel struct {
	// ID is unique in the dashboard.
	ID int `json:"id"`
	// Title is what people read.
	Title string `json:"title"`
	// Type is how it is drawn.
	Type string `json:"type"`
	// Targets are the queries.
	Targets []Target `json:"targets"`
	// GridPos is where it stands.
	GridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	// FieldConfig says how values are shown.
	FieldConfig struct {
		Defaults Field `json:"defaults"`
	} `json:"fieldConfig"`
	// Transformations say which columns a table leaves out.
	Transformations []struct {
		Options struct {
			Exclude map[string]bool `json:"excludeByName"`
		} `json:"options"`
	} `json:"transformations,omitempty"`
}

// Field says how values are shown.
type Field struct {
	// Unit is Grafana's name of it.
	Unit string `json:"unit,omitempty"`
	// Custom is how lines are drawn.
	Custom struct {
		Fill     int `json:"fillOpacity,omitempty"`
		Stacking struct {
			Mode string `json:"mode,omitempty"`
		} `json:"stacking"`
	} `json:"custom"`
	// Thresholds are the colors of values, from the lowest on.
	Thresholds struct {
		Steps []struct {
			Color string   `json:"color"`
			Value *float64 `json:"value"`
		} `json:"steps"`
	} `json:"thresholds"`
	// Mappings are words for values.
	Mappings []struct {
		Options map[string]struct {
			Text string `json:"text"`
		} `json:"options"`
	} `json:"mappings,omitempty"`
}

// Target is a query of a panel.
type Target struct {
	// RefID is unique in the panel.
	RefID string `json:"refId"`
	// Expr is the query.
	Expr string `json:"expr"`
	// Legend names the series, with labels in double braces.
	Legend string `json:"legendFormat"`
	// Instant asks for the end of the time alone.
	Instant bool `json:"instant"`
}

// Query is the query as Prometheus takes it, with everything chosen that the variables offer.
func (t Target) Query() string { return t.QueryOver(time.Minute, 5*time.Minute) }

// QueryOver is [Target.Query] where Grafana would choose other times to take rates over, and to look at.
func (t Target) QueryOver(rate, all time.Duration) string {
	return strings.NewReplacer("$__rate_interval", inSeconds(rate), "$__range", inSeconds(all), "$kind", ".*", "$object_namespace", ".*").Replace(t.Expr)
}

// inSeconds writes a duration as Prometheus reads it.
func inSeconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// Variable is something that people choose from.
type Variable struct {
	// Name of the variable, without the dollar sign.
	Name string `json:"name"`
	// Type is query or datasource.
	Type string `json:"type"`
	// Query is label_values(metric, label), or the kind of the data source.
	Query string `json:"query"`
}

// Dashboards reads all dashboards.
func Dashboards() ([]Dashboard, error) {
	pattern, err := folder("config", "monitoring", "dashboards", "*.json")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("finding the dashboards %q: found %d: %w", pattern, len(files), err)
	}
	var all []Dashboard
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a dashboard: %w", err)
		}
		dashboard := Dashboard{File: filepath.Base(file)}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			return nil, fmt.Errorf("reading the dashboard %q: %w", dashboard.File, err)
		}
		all = append(all, dashboard)
	}
	return all, nil
}
