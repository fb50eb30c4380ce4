package distribution

const (
	labelComponent = "app.kubernetes.io/component"
	labelPartOf    = "app.kubernetes.io/part-of"
)

// labels are those of every object that belongs to one component.
func (r Release) labels(component Component) map[string]string {
	labels := map[string]string{labelComponent: component.Name}
	if r.rules[partOfLabel] {
		labels[labelPartOf] = "flux"
	}
	return labels
}

// selector is the label by which Deployments, Services and policies find a controller's pods.
func selector(name string) map[string]string {
	return map[string]string{"app": name}
}
