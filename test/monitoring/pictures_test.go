package monitoring

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// maxPicture is how large a picture may be, in bytes.
const maxPicture = 200 << 10

// TestPicturesShowTheDashboards fails when a dashboard changed after its picture was drawn, or docs/monitoring.md does not show it.
func TestPicturesShowTheDashboards(t *testing.T) {
	page, err := os.ReadFile(at(t, "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dashboard := range dashboards(t) {
		name := strings.TrimSuffix(dashboard.File, ".json") + ".svg"
		picture, err := os.ReadFile(at(t, "docs", "pictures", name))
		if err != nil {
			t.Errorf("%v: make pictures", err)
			continue
		}
		if len(picture) > maxPicture {
			t.Errorf("docs/pictures/%s has %d bytes", name, len(picture))
		}
		if !bytes.Contains(page, []byte("](pictures/"+name+")")) {
			t.Errorf("docs/monitoring.md does not show %s", name)
		}
		wanted, err := dashboard.Digest()
		if err != nil {
			t.Fatal(err)
		}
		written := texts(t, name, picture)
		if written["metadata"] == nil || written["metadata"][0] != wanted {
			t.Errorf("docs/pictures/%s is of %v, the dashboard %s: make pictures", name, written["metadata"], wanted)
		}
		for _, panel := range dashboard.Panels {
			if !slices.Contains(written["text"], panel.Title) {
				t.Errorf("docs/pictures/%s does not show the panel %q: make pictures", name, panel.Title)
			}
		}
	}
}

// texts are what is written in a picture, by the element that it is in.
func texts(t *testing.T, name string, picture []byte) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	element := ""
	for decoder := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("docs/pictures/%s: %v", name, err)
		}
		switch part := token.(type) {
		case xml.StartElement:
			element = part.Name.Local
		case xml.CharData:
			found[element] = append(found[element], string(part))
		case xml.EndElement:
			element = ""
		}
	}
}

func TestDigestFollowsWhatIsShown(t *testing.T) {
	digest := func(change func(*Panel)) string {
		t.Helper()
		panel := Panel{ID: 1, Title: "Objects", Targets: []Target{{Expr: "sum(flux_objects)"}}}
		change(&panel)
		digest, err := Dashboard{Panels: []Panel{panel}}.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	same := digest(func(*Panel) {})
	if other := digest(func(*Panel) {}); other != same {
		t.Errorf("one dashboard has two digests, %s and %s", same, other)
	}
	for what, change := range map[string]func(*Panel){
		"title": func(p *Panel) { p.Title = "All" }, "query": func(p *Panel) { p.Targets[0].Expr = "flux_objects" },
		"place": func(p *Panel) { p.GridPos.X = 4 }, "unit": func(p *Panel) { p.FieldConfig.Defaults.Unit = "s" },
	} {
		if digest(change) == same {
			t.Errorf("another %s has the same digest", what)
		}
	}
}
