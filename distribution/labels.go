package distribution

const (
	labelComponent = "app.kubernetes.io/component"
	labelPartOf    = "app.kubernetes.io/part-of"
	partOf         = "flux"
)

// labels are those of every object that belongs to one component, its CRDs excepted.
func (r Release) labels(component Component) map[string]string {
	labels := map[string]string{labelComponent: component.Name}
	if r.rules[partOfLabel] {
		labels[labelPartOf] = partOf
	}
	return labels
}

// selector is the label by which Deployments, Services and policies find a controller's pods.
func selector(name string) map[string]string {
	return map[string]string{"app": name}
}
